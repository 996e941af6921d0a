"""Sounds to name: mixtures with the classes heard in each second, from AVS-Collage's recordings or synthetic voices.

The mixtures come from the composer that makes the clips themselves, so that the encoder learns on what it will hear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.data.audio import log_mel_patches
from ecmvae.data.collage import CollageSources, mix_audio, sample_scene
from ecmvae.data.synthetic import SHAPES, SyntheticAVS

_SECONDS = 12
_SOUNDING = (0.08, 0.5, 0.3, 0.12)
"""Chances that none, one, two or three of a scene's objects sound in a second."""


@dataclass(frozen=True)
class NamedPatches:
    """One-second patches and what sounds in them.

    Attributes:
        log_mel: (n, 1, 96, 64).
        classes: (n, K) float in {0, 1}, which of the K classes sounds.
    """

    log_mel: Float[Tensor, "n 1 96 64"]
    classes: Float[Tensor, "n k"]


class Sounds(Protocol):
    """Where an audio encoder's lessons come from."""

    classes: tuple[str, ...]

    def mixtures(self, seed: int, scenes: int) -> NamedPatches:
        """Mixtures of nought to three classes, the same for the same seed."""

    def singles(self, held_out: bool) -> NamedPatches:
        """One class at a time, clean: the known recordings or the held-out ones; empty where there are none."""


class CollageSounds:
    """The recordings of AVS-Collage.

    Args:
        sources: Where they are.
    """

    def __init__(self, sources: CollageSources) -> None:
        self.sources = sources
        self.classes = sources.eligible()

    def mixtures(self, seed: int, scenes: int) -> NamedPatches:
        """Each scene: three classes for twelve seconds, with random gain, pitch, place and noise."""
        rng = np.random.default_rng([seed, 0x50])
        patches = []
        for _ in range(scenes):
            scene = sample_scene(rng, self.sources, "ms3", "train")
            active = np.zeros((_SECONDS, len(scene.objects)), dtype=bool)
            for second, count in enumerate(rng.choice(len(_SOUNDING), size=_SECONDS, p=_SOUNDING)):
                active[second, rng.permutation(len(scene.objects))[:count]] = True
            log_mel = log_mel_patches(
                torch.from_numpy(mix_audio(scene, active, rng, augment=True, sources=self.sources)),
                hop_seconds=1.0,
                num_patches=_SECONDS,
            )
            named = torch.zeros(_SECONDS, len(self.classes))
            for column, thing in enumerate(scene.objects):
                named[:, self.classes.index(thing.category)] = torch.from_numpy(active[:, column]).float()
            patches.append(NamedPatches(log_mel, named))
        return join(patches)

    def singles(self, held_out: bool) -> NamedPatches:
        """Every recording on its own, in its loudest second: repeated where it is shorter."""
        patches = []
        for number, category in enumerate(self.classes):
            for sound in self.sources.sounds(category, held_out):
                recording = torch.from_numpy(self.sources.load_sound(sound).copy())
                turns = recording.repeat(-(-32_000 // len(recording)))
                power = turns.square().unfold(0, 16_000, 1_600).mean(-1)
                start = int(power.argmax()) * 1_600
                log_mel = log_mel_patches(turns[start : start + 16_000], hop_seconds=1.0, num_patches=1)
                patches.append(NamedPatches(log_mel, _one_hot([number], len(self.classes))))
        return join(patches) if patches else NamedPatches(torch.zeros(0, 1, 96, 64), torch.zeros(0, len(self.classes)))


class SyntheticSounds:
    """The voices of `SyntheticAVS`, for a machine without a network; every voice is known."""

    def __init__(self) -> None:
        self.classes = tuple(shape.name for shape in SHAPES)

    def mixtures(self, seed: int, scenes: int) -> NamedPatches:
        """Clips of the MS3-like kind."""
        clips = SyntheticAVS("ms3", length=scenes, seed=seed + 10_000)
        return join([self._named(clips, index) for index in range(scenes)])

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
        scenes: Scenes in a batch.
        seed: Seed of the course.
    """

    def __init__(self, sounds: Sounds, *, batches: int, scenes: int, seed: int) -> None:
        self.sounds, self.batches, self.scenes, self.seed = sounds, batches, scenes, seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> NamedPatches:
        return self.sounds.mixtures(self.seed * 1_000_000 + index, self.scenes)


def join(parts: list[NamedPatches]) -> NamedPatches:
    """All patches, one after another."""
    return NamedPatches(torch.cat([part.log_mel for part in parts]), torch.cat([part.classes for part in parts]))


def _one_hot(numbers: list[int], count: int) -> Float[Tensor, "n k"]:
    index: Int[Tensor, " n"] = torch.tensor(numbers)
    return torch.nn.functional.one_hot(index, count).float()
