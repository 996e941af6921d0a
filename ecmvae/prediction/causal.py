"""Masks of a picture that is still coming in: the answer for a frame uses the past alone.

What differs from a whole video (`ecmvae.prediction.predictor`):

- a frame that goes through the model is the *last* of its clip, after those one second, two seconds ... before it;
- the sound that the model hears ends at the frame, where a video's is centred on it;
- smoothing over time is the past half of the Gaussian;
- between two such key frames the last mask stays, since the next one is not known yet.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int32, UInt8

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import Sound, SourceFrame
from ecmvae.errors import UserError
from ecmvae.prediction.classes import foreground_and_classes
from ecmvae.prediction.engine import Engine, NamingEngine
from ecmvae.prediction.measures import binary_entropy, loudness
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.temporal import past_average, smoothing_reach
from ecmvae.prediction.tracking import Tracker

MOST_LAG = 1.0
"""Seconds by which the sound may arrive behind the picture; then the model hears what was last there."""
_LOUDNESS_WINDOW = 0.1  # seconds
_SLACK = 1e-6  # seconds; timestamps are rounded


class ArrivingSound(Sound, Protocol):
    """Sound that is known up to a moment."""

    @property
    def end(self) -> int:
        """Where it ends so far, in samples from the first picture."""


@dataclass(frozen=True, eq=False)
class _Key:
    """A key frame, ready for the model."""

    time: float
    frame: Float[np.ndarray, "3 s s"]
    features: Float[np.ndarray, "*f"]


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the model answered for a key frame."""

    time: float
    probability: Float[np.ndarray, "h w"]
    classes: UInt8[np.ndarray, "h w"] | None
    activity: Float[np.ndarray, " c"] | None
    things: Int32[np.ndarray, "h w"] | None = None


class CausalPredictor:
    """Segments one frame after the other as they arrive; some seconds of key frames are in memory.

    Args:
        engine: Runs the model.
        options: As for a video; `batch` has no effect.
        geometry: How a frame lies in the model's square.
    """

    def __init__(self, engine: Engine, options: PredictorOptions, geometry: Letterbox) -> None:
        self._engine, self._options, self._geometry = engine, options, geometry
        self._step = options.stride / options.fps  # seconds from one frame of a clip to the next
        self._keys: deque[_Key] = deque()
        self._answers: deque[_Answer] = deque(
            maxlen=smoothing_reach(options.smoothing * options.fps) + 1
        )
        self._next = -math.inf  # when the next key frame is due
        self._shown: _Answer | None = None  # smoothed
        self._tracker = Tracker()

    def __call__(self, frame: SourceFrame, sound: ArrivingSound) -> tuple[FrameResult, bool]:
        """The answer for the next frame, and whether the frame went through the model.

        Args:
            frame: Later than the one before.
            sound: As far as it has arrived; of what lies behind the frame nothing is read.

        Raises:
            UserError: If the model answers NaN.
        """
        end = self._sound_end(frame.time, sound)
        due = frame.time >= self._next - _SLACK
        if due:
            self._answers.append(self._answer(frame, sound, end))
            self._shown = self._smoothed()
            interval = 1 / self._options.fps
            self._next = (
                frame.time + interval
                if self._next < frame.time - interval
                else self._next + interval
            )
        assert self._shown is not None
        probability = self._shown.probability
        heard = sound.read(end - round(_LOUDNESS_WINDOW * sound.sample_rate), end)
        result = FrameResult(
            index=frame.index,
            time=frame.time,
            audio_activity=float(loudness(heard[None])[0]),
            threshold=self._options.threshold,
            geometry=self._geometry,
            small_probability=probability[None],
            small_uncertainty=lambda: binary_entropy(probability[None]),
            small_classes=self._shown.classes,
            class_names=tuple(self._engine.class_names),
            class_activity=self._shown.activity,
            small_things=self._shown.things,
        )
        return result, due

    def _sound_end(self, time: float, sound: ArrivingSound) -> int:
        """Where the sound for a frame ends: at the frame, or with what has arrived where that is not long before."""
        at = round(time * sound.sample_rate)
        return sound.end if at - MOST_LAG * sound.sample_rate <= sound.end < at else at

    def _answer(self, frame: SourceFrame, sound: ArrivingSound, end: int) -> _Answer:
        engine, options = self._engine, self._options
        heard = sound.read(end - round(engine.seconds * sound.sample_rate), end)
        picture = self._geometry.fit(frame, engine.normalisation)
        key = _Key(frame.time, picture, engine.features(heard[None])[0])
        things = None
        if isinstance(engine, NamingEngine):
            maps = engine.name_masks(key.frame[None, None], key.features[None, None])
            probability, classes = maps.probabilities[0, 0], maps.classes[0, 0]
            activity = maps.activity[0, 0].astype(np.float32)
            things = (
                None if maps.things is None else self._tracker.follow(frame.time, maps.things[0])
            )
        else:
            clip = self._clip(key)
            frames, features = (
                np.stack([getattr(each, name) for each in clip]) for name in ("frame", "features")
            )
            logits = engine.logits(frames[None], features[None], options.samples, options.seed)
            found, kinds = foreground_and_classes(logits)
            probability, classes, activity = (
                found[0, -1],
                None if kinds is None else kinds[0, -1],
                None,
            )
        if np.isnan(probability).any():
            raise UserError(
                "the model answers NaN: its checkpoint is broken, or --half is too coarse for it"
            )
        crop = replace(
            self._geometry, side=probability.shape[-1]
        ).crop  # maps may be smaller than the model's frames
        classes, things = (
            None if each is None else np.ascontiguousarray(crop(each)) for each in (classes, things)
        )
        return _Answer(frame.time, crop(probability).astype(np.float32), classes, activity, things)

    def _clip(self, key: _Key) -> list[_Key]:
        """A clip that ends with a key frame: before it those that are nearest to one step, two steps ... earlier."""
        count, step = self._engine.num_frames, self._step
        while self._keys and self._keys[0].time < key.time - (count - 0.5) * step:
            self._keys.popleft()
        clip = [key]
        for back in range(1, count):
            wanted = key.time - back * step
            nearest = min(self._keys, key=lambda each: abs(each.time - wanted), default=None)
            if (
                nearest is None
                or abs(nearest.time - wanted) > step / 2 - _SLACK
                or nearest.time >= clip[-1].time
            ):
                break
            clip.append(nearest)
        self._keys.append(key)
        return clip[::-1]

    def _smoothed(self) -> _Answer:
        """The newest answer, its map averaged with those before it.

        Where it has no names, although smoothing leaves a mask, classes and things are those of the last that has.
        """
        times = np.array([each.time for each in self._answers])
        maps = np.stack([each.probability for each in self._answers])
        newest = self._answers[-1]
        average = past_average(maps, times, self._options.smoothing)
        if newest.classes is None:
            return replace(newest, probability=average)
        named = next((each for each in reversed(self._answers) if np.any(each.classes)), None)
        if named is None:
            return replace(newest, probability=average, classes=np.ones_like(newest.classes))
        return replace(newest, probability=average, classes=named.classes, things=named.things)
