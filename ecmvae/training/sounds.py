"""Sounds to name: mixtures with the classes heard in each second, from AVS-Collage's recordings or synthetic voices.

The mixtures vary as the clips of training do, and a third of the seconds hold none of the classes: noise, silence,
speech, music. An encoder that never hears these answers them with some class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.encoder import AudioFrontEnd, sound_windows
from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.augment import (
    VARIATIONS,
    Augmentation,
    Variation,
    coloured_noise,
    decibels,
    recolour,
)
from ecmvae.data.collage.sound import loudest_second
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.synthetic import SHAPES, SyntheticAVS

_SOUNDING = (0.30, 0.40, 0.20, 0.10)
"""Chances that none, one, two or three recordings of classes sound in a second."""

_OTHER_ALONE, _OTHER_BESIDE = 0.5, 0.2
"""Chances of a sound of none of the classes in a second without a class, and beside a class."""

_SILENT = 0.02
"""Chance of digital silence."""

_LEAD = SAMPLE_RATE // 4
"""Samples before a second, whose echoes reach into it."""

_STRETCHES = 12

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

    def unnamed(self) -> list[LabelledSound]:
        """Seconds that hold none of the classes, never trained on."""


class CollageSounds:
    """The recordings of AVS-Collage, mixed by the second, among noise and sounds of none of the classes.

    Args:
        sources: The recordings.
        augmentation: How much they vary.
    """

    def __init__(self, sources: CollageSources, augmentation: Augmentation = "strong") -> None:
        self.sources, self._vary = sources, VARIATIONS[augmentation]
        self.classes = sources.eligible()

    def mixtures(self, seed: int, seconds: int) -> LabelledSound:
        """Zero to three recordings of different classes a second, and what has no name: noise, speech, music, rain.

        Pitch and gain of every sound vary and, when strongly, tilt and reverberation of every second
        (`ecmvae.data.collage.augment`).
        Noise is 6 dB above to 60 dB below a recording where no class sounds and 8 to 50 dB below elsewhere. Other
        sounds are in half of the seconds without a class and in a fifth of those with one, 0 to 18 dB below it. One
        second in 50 is silent.
        """
        rng, vary = np.random.default_rng([seed, 0x50]), self._vary
        others = self.sources.others()
        mixed = np.zeros((seconds, SAMPLE_RATE), dtype=np.float32)
        named = torch.zeros(seconds, len(self.classes))
        for row, count in enumerate(rng.choice(len(_SOUNDING), size=seconds, p=_SOUNDING)):
            if rng.random() < _SILENT:
                continue
            heard = np.zeros(_LEAD + SAMPLE_RATE, dtype=np.float32)
            for number in rng.choice(len(self.classes), size=count, replace=False):
                sound = _excerpt(
                    rng,
                    self.sources.load_sound(
                        _one_of(rng, self.sources.sounds(self.classes[number]))
                    ),
                    vary,
                )
                heard += sound * decibels(rng.uniform(*vary.gains))
                if np.sqrt(np.mean(np.square(sound[_LEAD:]))) > _AUDIBLE:
                    named[row, number] = 1
            if others and rng.random() < (_OTHER_BESIDE if count else _OTHER_ALONE):
                gain = decibels(rng.uniform(-18, 0) if count else rng.uniform(*vary.gains))
                heard += _excerpt(rng, self.sources.load_other(_one_of(rng, others)), vary) * gain
            noise = decibels(-20 - (rng.uniform(8, 50) if count else rng.uniform(-6, 60)))
            mixed[row] = (recolour(heard, rng) if vary.rooms else heard)[_LEAD:] + _noise(
                rng
            ) * noise
        mixed *= np.minimum(1, 0.98 / np.maximum(np.abs(mixed).max(axis=1, keepdims=True), 0.1))
        return LabelledSound(torch.from_numpy(mixed).flatten(), named)

    def unnamed(self) -> list[LabelledSound]:
        """Held-out sounds of none of the classes, each on its own in its loudest second."""
        label = torch.zeros(1, len(self.classes))
        sounds = [self.sources.load_other(sound) for sound in self.sources.others(held_out=True)]
        return [LabelledSound(torch.from_numpy(loudest_second(sound)), label) for sound in sounds]

    def singles(self, held_out: bool) -> list[LabelledSound]:
        """Every recording on its own, in its loudest second: repeated where it is shorter."""
        found = []
        for number, category in enumerate(self.classes):
            for sound in self.sources.sounds(category, held_out):
                label = torch.eye(len(self.classes))[[number]]
                loudest = loudest_second(self.sources.load_sound(sound))
                found.append(LabelledSound(torch.from_numpy(loudest), label))
        return found


def _excerpt(
    rng: np.random.Generator, recording: Float32[np.ndarray, " k"], vary: Variation
) -> Float32[np.ndarray, " s"]:
    """A second of the recording, and what comes before it, at a random pitch; it repeats with a random pause."""
    speed = 2 ** (rng.uniform(-vary.semitones, vary.semitones) / 12)
    turn = len(recording) + rng.uniform(0, 0.3) * SAMPLE_RATE
    place = (rng.uniform(0, turn) + np.arange(_LEAD + SAMPLE_RATE) * speed) % turn
    heard: np.ndarray = np.interp(place, np.arange(len(recording)), recording, right=0).astype(
        np.float32
    )
    return heard


def _noise(rng: np.random.Generator) -> Float32[np.ndarray, " s"]:
    """A second of white, pink or brown noise with a root mean square of about 1, cut from a longer stretch."""
    stretch = _stretch(int(rng.integers(_STRETCHES)))
    start = int(rng.integers(len(stretch) - SAMPLE_RATE))
    return stretch[start : start + SAMPLE_RATE]


@cache
def _stretch(number: int) -> Float32[np.ndarray, " s"]:
    """Half a minute of noise; its colour is random."""
    return coloured_noise(np.random.default_rng([number, 0x4E]), 30 * SAMPLE_RATE)


def _one_of(rng: np.random.Generator, ids: tuple[str, ...]) -> str:
    return ids[int(rng.integers(len(ids)))]


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

    def unnamed(self) -> list[LabelledSound]:
        """None: every voice is known."""
        return []

    def _labelled(self, clips: SyntheticAVS, index: int) -> LabelledSound:
        waveform, sounding = clips.sound(index, epoch=0)
        columns = torch.eye(len(self.classes))[
            [self.classes.index(name) for name in clips.classes(index)]
        ]
        return LabelledSound(waveform, sounding.float() @ columns)


class TaggingDataset(Dataset[tuple[Tensor, Tensor]]):
    """Batch `index` of a stream of mixtures, decided by `seed`: features (n, ...) and classes (n, K) of n seconds."""

    def __init__(
        self,
        sounds: SoundSource,
        front_end: AudioFrontEnd,
        *,
        batches: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.sounds, self.front_end = sounds, front_end
        self.batches, self.batch_size, self.seed = batches, batch_size, seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        mixture = self.sounds.mixtures(self.seed * 1_000_000 + index, self.batch_size)
        return mixture.features(self.front_end), mixture.classes
