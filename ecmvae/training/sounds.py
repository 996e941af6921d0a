"""Sounds to name: mixtures with the classes heard in each second, from AVS-Collage's recordings or synthetic voices.

The mixtures come from the composer that makes the clips themselves, so that the encoder learns on what it will hear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.encoder import AudioFrontEnd, sound_windows
from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.synthetic import SHAPES, SyntheticAVS

_SOUNDING = (0.06, 0.54, 0.28, 0.12)
"""Chances that none, one, two or three recordings sound in a second."""

_STEP = SAMPLE_RATE // 10
"""Samples between two candidates for a recording's loudest second."""

_AUDIBLE = 0.01
"""Root mean square above which a second of a recording (active level 0.1) counts as heard, not as its pause."""


@dataclass(frozen=True)
class LabelledSound:
    """A waveform (n * 16000,) at 16 kHz, and which of K classes sound in each second: (n, K) float in {0, 1}."""

    waveform: Float[Tensor, " s"]
    classes: Float[Tensor, "n k"]

    def features(self, front_end: AudioFrontEnd) -> Float[Tensor, "n *f"]:
        """The features of each second."""
        return front_end(sound_windows(self.waveform, SAMPLE_RATE, front_end, len(self.classes)))


@runtime_checkable
class SoundSource(Protocol):
    """Where the examples for an audio encoder come from."""

    classes: tuple[str, ...]

    def mixtures(self, seed: int, seconds: int) -> LabelledSound:
        """Mixtures of zero to three classes, the same for the same seed."""

    def singles(self, held_out: bool) -> list[LabelledSound]:
        """One class at a time, clean: the known recordings or the held-out ones."""


class CollageSounds:
    """The recordings of AVS-Collage, mixed as its composer mixes them but by the second."""

    def __init__(self, sources: CollageSources) -> None:
        self.sources = sources
        self.classes = sources.eligible()
        self._tuned: dict[tuple[str, int], Float32[np.ndarray, " s"]] = {}

    def mixtures(self, seed: int, seconds: int) -> LabelledSound:
        """Zero to three recordings of different classes a second: random place, pause, pitch, gain and noise."""
        rng = np.random.default_rng([seed, 0x50])
        level = 0.1 * 10 ** (-rng.uniform(20, 50, (seconds, 1)) / 20)
        mixed = rng.standard_normal((seconds, SAMPLE_RATE), dtype=np.float32) * level.astype(np.float32)
        named = torch.zeros(seconds, len(self.classes))
        for row, count in enumerate(rng.choice(len(_SOUNDING), size=seconds, p=_SOUNDING)):
            for number in rng.choice(len(self.classes), size=count, replace=False):
                second = self._second(rng, self.classes[number])
                mixed[row] += second * np.float32(10 ** (rng.uniform(-6, 3) / 20))
                if np.sqrt(np.mean(np.square(second))) > _AUDIBLE:
                    named[row, number] = 1
        mixed *= np.minimum(1, 0.98 / np.abs(mixed).max(axis=1, keepdims=True))
        return LabelledSound(torch.from_numpy(mixed).flatten(), named)

    def _second(self, rng: np.random.Generator, category: str) -> Float32[np.ndarray, " s"]:
        """A second of one of the class's recordings, which repeats with a random pause, from a random place."""
        sounds = self.sources.sounds(category)
        recording = self._recording(sounds[int(rng.integers(len(sounds)))], semitones=int(rng.integers(-2, 3)))
        turn = len(recording) + int(rng.uniform(0, 0.3) * SAMPLE_RATE)
        place = (int(rng.integers(turn)) + np.arange(SAMPLE_RATE)) % turn
        heard: np.ndarray = np.where(place < len(recording), recording[np.minimum(place, len(recording) - 1)], 0)
        return heard.astype(np.float32)

    def _recording(self, sound: str, semitones: int) -> Float32[np.ndarray, " s"]:
        """A recording at another pitch; kept, for there are few of them."""
        if (sound, semitones) not in self._tuned:
            plain = self.sources.load_sound(sound)
            times = np.arange(0, len(plain) - 1, 2 ** (semitones / 12))
            self._tuned[sound, semitones] = np.interp(times, np.arange(len(plain)), plain).astype(np.float32)
        return self._tuned[sound, semitones]

    def singles(self, held_out: bool) -> list[LabelledSound]:
        """Every recording on its own, in its loudest second: repeated where it is shorter."""
        found = []
        for number, category in enumerate(self.classes):
            for sound in self.sources.sounds(category, held_out):
                recording = torch.from_numpy(self.sources.load_sound(sound).copy())
                turns = recording.repeat(-(-2 * SAMPLE_RATE // len(recording)))
                power = turns.square().unfold(0, SAMPLE_RATE, _STEP).mean(-1)
                start = int(power.argmax()) * _STEP
                label = torch.eye(len(self.classes))[[number]]
                found.append(LabelledSound(turns[start : start + SAMPLE_RATE], label))
        return found


class SyntheticSounds:
    """The voices of `SyntheticAVS`, for a machine without a network; every voice is known."""

    def __init__(self) -> None:
        self.classes = tuple(shape.name for shape in SHAPES)

    def mixtures(self, seed: int, seconds: int) -> LabelledSound:
        """Clips of the MS3-like kind, five seconds each."""
        clips = SyntheticAVS("ms3", length=-(-seconds // 5), seed=seed + 10_000)
        mixed = [self._labelled(clips, index) for index in range(clips.length)]
        waveform = torch.cat([each.waveform for each in mixed])
        classes = torch.cat([each.classes for each in mixed])
        return LabelledSound(waveform[: seconds * SAMPLE_RATE], classes[:seconds])

    def singles(self, held_out: bool) -> list[LabelledSound]:
        """Clips in which one shape sounds throughout; none is held out."""
        clips = SyntheticAVS("s4", length=0 if held_out else 40, seed=9_999)
        return [self._labelled(clips, index) for index in range(clips.length)]

    def _labelled(self, clips: SyntheticAVS, index: int) -> LabelledSound:
        waveform, sounding = clips.sound(index, epoch=0)
        columns = torch.eye(len(self.classes))[[self.classes.index(name) for name in clips.classes(index)]]
        return LabelledSound(waveform, sounding.float() @ columns)


class TaggingDataset(Dataset[tuple[Tensor, Tensor]]):
    """Batch `index` of a stream of mixtures, decided by `seed`: features (n, ...) and classes (n, K) of n seconds."""

    def __init__(
        self, sounds: SoundSource, front_end: AudioFrontEnd, *, batches: int, batch_size: int, seed: int
    ) -> None:
        self.sounds, self.front_end = sounds, front_end
        self.batches, self.batch_size, self.seed = batches, batch_size, seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        mixture = self.sounds.mixtures(self.seed * 1_000_000 + index, self.batch_size)
        return mixture.features(self.front_end), mixture.classes
