"""Answers while a picture comes in: what is still to come changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from listening_model import ListeningModel

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import SoundArray, SourceFrame
from ecmvae.prediction.causal import CausalPredictor
from ecmvae.prediction.named_maps import NamedMaps
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.temporal import past_average
from ecmvae.prediction.torch_engine import TorchEngine
from ecmvae.visual.normalisation import Normalisation

FPS, SECONDS, RATE, SIDE = 8, 6.0, 16_000, 32
CHANGE = 3.0
"""Seconds at which the two stories part."""


class Arriving(SoundArray):
    """All of it is there."""

    @property
    def end(self) -> int:
        return len(self._waveform)


def story(seed: int, seconds: float = SECONDS) -> tuple[np.ndarray, np.ndarray]:
    """Noise in picture and sound; until `CHANGE` the same for every seed."""
    same, other = np.random.default_rng(0), np.random.default_rng(seed)
    frames = same.integers(0, 255, (round(seconds * FPS), SIDE, SIDE, 3), np.uint8)
    sound = same.uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)
    if seed:
        frames[round(CHANGE * FPS) :] = other.integers(
            0, 255, frames[round(CHANGE * FPS) :].shape, np.uint8
        )
        sound[round(CHANGE * RATE) :] = other.uniform(-0.9, 0.9, len(sound) - round(CHANGE * RATE))
    return frames, sound


def answers(
    engine: Any, options: PredictorOptions, frames: np.ndarray, sound: np.ndarray
) -> Iterator[FrameResult]:
    causal = CausalPredictor(engine, options, Letterbox(height=SIDE, width=SIDE, side=SIDE))
    heard = Arriving(sound, RATE)
    for index, frame in enumerate(frames):
        yield causal(SourceFrame(index, index / FPS, 1 / FPS, frame), heard)[0]


class MixingEngine:
    """Every frame's answer depends on all frames and all sounds of its clip, as attention makes it."""

    name, image_size, num_frames, class_names = "mixing", SIDE, 5, ()
    normalisation = Normalisation((0.0,) * 3, (1.0,) * 3)
    sample_rate, seconds = RATE, 1.0

    def features(self, waveforms: np.ndarray) -> np.ndarray:
        return waveforms[:, ::100]

    def logits(
        self, frames: np.ndarray, features: np.ndarray, samples: int, seed: int
    ) -> np.ndarray:
        loud = np.square(features).mean(axis=(1, 2))[:, None, None, None, None]
        mean = frames.mean(axis=(1, 2), keepdims=True)
        return (np.repeat(mean, frames.shape[1], axis=1) + 10 * loud - 0.8)[None]


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("fps", [2.0, 8.0])
def test_another_future_changes_nothing(fps: float, smoothing: float) -> None:
    options = PredictorOptions(fps=fps, smoothing=smoothing)
    one, other = ([*answers(MixingEngine(), options, *story(seed))] for seed in (0, 1))
    before = [result.time < CHANGE for result in one]
    assert sum(before) == CHANGE * FPS
    for past, first, second in zip(before, one, other, strict=True):
        same = np.array_equal(first.small_probability, second.small_probability)
        assert same or not past
        assert first.audio_activity == second.audio_activity or not past
    # the test can fail
    assert not np.array_equal(one[-1].small_probability, other[-1].small_probability)


def test_a_whole_video_does_look_ahead() -> None:
    """Without this, the test above would pass on any model that ignores its clip."""
    predictor = VideoPredictor(MixingEngine(), options=PredictorOptions(fps=2.0, smoothing=0.0))
    one, other = (
        predictor.predict_arrays(frames, float(FPS), sound, RATE)
        for frames, sound in (story(0), story(1))
    )
    at = round((CHANGE - 0.5) * FPS)
    assert not np.array_equal(one.frame(at).small_probability, other.frame(at).small_probability)


def test_the_sound_ends_at_the_frame() -> None:
    """A click is heard from its own moment on, for as long as the window is."""
    sound = np.zeros(round(SECONDS * RATE), np.float32)
    click = 2.3
    sound[round(click * RATE) : round(click * RATE) + 160] = 0.9
    options = PredictorOptions(fps=float(FPS), smoothing=0.0)
    engine = TorchEngine(ListeningModel(SIDE, 1, level=0.5), "cpu")
    frames = np.full((round(SECONDS * FPS), SIDE, SIDE, 3), 255, np.uint8)
    heard = [result.time for result in answers(engine, options, frames, sound) if result.mask.any()]
    assert min(heard) == pytest.approx(np.ceil(click * FPS) / FPS)
    assert max(heard) == pytest.approx(np.floor((click + 1) * FPS) / FPS, abs=1.01 / FPS)


def test_sound_that_is_late_is_heard_where_it_ends() -> None:
    @dataclass
    class Late:
        end: int
        sample_rate: int = RATE

        def read(self, start: int, stop: int) -> np.ndarray:
            assert stop == (self.end if self.end >= RATE else 2 * RATE)
            return np.zeros(stop - start, np.float32)

    causal = CausalPredictor(
        MixingEngine(), PredictorOptions(), Letterbox(height=SIDE, width=SIDE, side=SIDE)
    )
    frame = SourceFrame(0, 2.0, 0.1, np.zeros((SIDE, SIDE, 3), np.uint8))
    causal(frame, Late(round(1.7 * RATE)))
    # too far behind: silence up to the frame
    causal(replace(frame, time=2.0), Late(round(0.9 * RATE)))


def test_clips_end_with_the_frame_and_go_back_second_by_second() -> None:
    seen: list[np.ndarray] = []

    class Noting(MixingEngine):
        def logits(
            self, frames: np.ndarray, features: np.ndarray, samples: int, seed: int
        ) -> np.ndarray:
            seen.append(np.rint(frames[0, :, 0, 0, 0] * 255).astype(int))
            return super().logits(frames, features, samples, seed)

    frames = np.broadcast_to(
        np.arange(round(SECONDS * FPS), dtype=np.uint8)[:, None, None, None], (48, SIDE, SIDE, 3)
    )
    [*answers(Noting(), PredictorOptions(fps=4.0), frames, np.zeros(RATE, np.float32))]
    assert [len(clip) for clip in seen] == [min(1 + (k + 1) // 4, 5) for k in range(24)]
    # frame 46 is the last key frame, at 5.75 s
    assert seen[-1].tolist() == [46 - 32, 46 - 24, 46 - 16, 46 - 8, 46]


def test_between_key_frames_the_mask_stays() -> None:
    results = [*answers(MixingEngine(), PredictorOptions(fps=2.0, smoothing=0.0), *story(0))]
    for index, result in enumerate(results):
        assert np.array_equal(
            result.small_probability, results[index - index % 4].small_probability
        )


def test_past_average() -> None:
    maps = np.array([1.0, 0.0, 0.0], np.float32)[:, None, None]
    times = np.array([0.0, 0.25, 0.5])
    assert past_average(maps, times, 0.0).item() == 0
    weights = np.exp(-0.5 * (np.array([0.5, 0.25, 0.0]) / 0.25) ** 2)
    assert past_average(maps, times, 0.25).item() == pytest.approx(
        weights[0] / weights.sum(), rel=1e-6
    )
    assert past_average(maps, np.array([0.0, 9.0, 9.5]), 0.25).item() == 0  # beyond the cut


def test_names_stay_where_smoothing_leaves_a_mask() -> None:
    class Naming(MixingEngine):
        class_names = ("background", "dog", "cat")

        def name_masks(self, frames: np.ndarray, features: np.ndarray) -> NamedMaps:
            loud = bool(np.abs(features).max() > 0.1)
            maps = np.full((1, 1, SIDE, SIDE), float(loud), np.float32)
            return NamedMaps(
                maps,
                np.full(maps.shape, 2 * loud, np.uint8),
                np.full((1, 1, 2), float(loud), np.float32),
            )

        def with_concepts(self, concepts: str | None) -> "Naming":
            return self

    sound = np.zeros(round(SECONDS * RATE), np.float32)
    sound[: 2 * RATE] = 0.5
    frames = np.zeros((48, SIDE, SIDE, 3), np.uint8)
    results = [
        *answers(Naming(), PredictorOptions(fps=8.0, smoothing=0.5, threshold=0.2), frames, sound)
    ]
    silent = [result for result in results if 3.05 < result.time < 3.2]
    assert silent
    for result in silent:
        assert result.class_activity.max() == 0
        assert result.classes.max() == 2
