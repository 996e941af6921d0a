"""Sounds to name: mixtures with the classes heard in each second, from AVS-Collage's recordings or synthetic voices.

The mixtures come from the composer that makes the clips themselves, so that the encoder learns on what it will hear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.io import SAMPLE_RATE, log_mel_patches
from ecmvae.data.collage.clips import CollageSources
from ecmvae.data.synthetic import SHAPES, SyntheticAVS

_SOUNDING = (0.06, 0.54, 0.28, 0.12)
"""Chances that none, one, two or three recordings sound in a second."""

_STEP = SAMPLE_RATE // 10
"""Samples between two candidates for a recording's loudest second."""

_AUDIBLE = 0.01
"""Root mean square above which a second of a recording (active level 0.1) counts as heard, not as its pause."""


@dataclass(frozen=True)
class NamedPatches:
    """One-second patches and what sounds in them.

    Attributes:
        log_mel: (n, 1, 96, 64).
        classes: (n, K) float in {0, 1}, which of the K classes sounds.
    """

    log_mel: Float[Tensor, "n 1 96 64"]
    classes: Float[Tensor, "n k"]


@runtime_checkable
class Sounds(Protocol):
    """Where an audio encoder's lessons come from."""

    classes: tuple[str, ...]

    def mixtures(self, seed: int, patches: int) -> NamedPatches:
        """Mixtures of nought to three classes, the same for the same seed."""

    def singles(self, held_out: bool) -> NamedPatches:
        """One class at a time, clean: the known recordings or the held-out ones; empty where there are none."""


class CollageSounds:
    """The recordings of AVS-Collage, mixed as its composer mixes them but by the second.

    Args:
        sources: Where they are.
    """

    def __init__(self, sources: CollageSources) -> None:
        self.sources = sources
        self.classes = sources.eligible()
        self._tuned: dict[tuple[str, int], Float32[np.ndarray, " s"]] = {}

    def mixtures(self, seed: int, patches: int) -> NamedPatches:
        """Nought to three recordings of different classes a second: random place, pause, pitch, gain and noise."""
        rng = np.random.default_rng([seed, 0x50])
        level = 0.1 * 10 ** (-rng.uniform(20, 50, (patches, 1)) / 20)
        mixed = rng.standard_normal((patches, SAMPLE_RATE), dtype=np.float32) * level.astype(np.float32)
        named = torch.zeros(patches, len(self.classes))
        for row, count in enumerate(rng.choice(len(_SOUNDING), size=patches, p=_SOUNDING)):
            for number in rng.choice(len(self.classes), size=count, replace=False):
                second = self._second(rng, self.classes[number])
                mixed[row] += second * np.float32(10 ** (rng.uniform(-6, 3) / 20))
                if np.sqrt(np.mean(np.square(second))) > _AUDIBLE:
                    named[row, number] = 1
        mixed *= np.minimum(1, 0.98 / np.abs(mixed).max(axis=1, keepdims=True))
        log_mel = log_mel_patches(torch.from_numpy(mixed).flatten(), hop_seconds=1.0, num_patches=patches)
        return NamedPatches(log_mel, named)

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

    def singles(self, held_out: bool) -> NamedPatches:
        """Every recording on its own, in its loudest second: repeated where it is shorter."""
        patches = []
        for number, category in enumerate(self.classes):
            for sound in self.sources.sounds(category, held_out):
                recording = torch.from_numpy(self.sources.load_sound(sound).copy())
                turns = recording.repeat(-(-2 * SAMPLE_RATE // len(recording)))
                power = turns.square().unfold(0, SAMPLE_RATE, _STEP).mean(-1)
                start = int(power.argmax()) * _STEP
                log_mel = log_mel_patches(turns[start : start + SAMPLE_RATE], hop_seconds=1.0, num_patches=1)
                patches.append(NamedPatches(log_mel, _one_hot([number], len(self.classes))))
        return join(patches) if patches else NamedPatches(torch.zeros(0, 1, 96, 64), torch.zeros(0, len(self.classes)))


class SyntheticSounds:
    """The voices of `SyntheticAVS`, for a machine without a network; every voice is known."""

    def __init__(self) -> None:
        self.classes = tuple(shape.name for shape in SHAPES)

    def mixtures(self, seed: int, patches: int) -> NamedPatches:
        """Clips of the MS3-like kind, five patches each."""
        clips = SyntheticAVS("ms3", length=-(-patches // 5), seed=seed + 10_000)
        mixed = join([self._named(clips, index) for index in range(clips.length)])
        return NamedPatches(mixed.log_mel[:patches], mixed.classes[:patches])

    def singles(self, held_out: bool) -> NamedPatches:
        """Clips in which one shape sounds throughout; none is held out."""
        clips = SyntheticAVS("s4", length=0 if held_out else 40, seed=9_999)
        patches = [self._named(clips, index) for index in range(clips.length)]
        return join([NamedPatches(torch.zeros(0, 1, 96, 64), torch.zeros(0, len(self.classes))), *patches])

    def _named(self, clips: SyntheticAVS, index: int) -> NamedPatches:
        log_mel, sounding = clips.sound(index, epoch=0)
        columns = _one_hot([self.classes.index(name) for name in clips.classes(index)], len(self.classes))
        return NamedPatches(log_mel, sounding.float() @ columns)


class Lessons(Dataset[NamedPatches]):
    """Batch `index` of an endless course, made by a loader's worker.

    Args:
        sounds: Where the mixtures come from.
        batches: Length of the course.
        batch_size: Patches in a batch.
        seed: Seed of the course.
    """

    def __init__(self, sounds: Sounds, *, batches: int, batch_size: int, seed: int) -> None:
        self.sounds, self.batches, self.batch_size, self.seed = sounds, batches, batch_size, seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> NamedPatches:
        return self.sounds.mixtures(self.seed * 1_000_000 + index, self.batch_size)


def join(parts: list[NamedPatches]) -> NamedPatches:
    """All patches, one after another."""
    return NamedPatches(torch.cat([part.log_mel for part in parts]), torch.cat([part.classes for part in parts]))


def _one_hot(numbers: list[int], count: int) -> Float[Tensor, "n k"]:
    index: Int[Tensor, " n"] = torch.tensor(numbers)
    return torch.nn.functional.one_hot(index, count).float()
