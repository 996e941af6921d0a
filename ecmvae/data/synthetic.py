"""Moving shapes with timbres: audio-visual clips without a download, for tests, debugging and an offline demo.

Every class is a shape of its own colour with a sound of its own: who looks and listens can tell which of the visible
shapes sounds. The clips are far easier than real ones, and no number measured on them says anything about real video.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.images import sounding_masks
from ecmvae.types import AVClip

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class SoundingShape:
    """One class: its colour, its form and its sound."""

    name: str
    colour: tuple[int, int, int]
    """Mean colour, RGB in [0, 255]."""
    inside: Callable[[Samples, Samples], NDArray[np.bool_]]
    """Whether a point is inside, from coordinates (x, y) that span [-1, 1] over the shape."""
    voice: Callable[[Samples, float, np.random.Generator], Samples]
    """Waveform from time in seconds, a pitch factor near 1 and a random generator."""


def _tone(time: Samples, hertz: float, overtones: tuple[float, ...] = (1.0,)) -> Samples:
    """A steady tone: `overtones` are the amplitudes of its 1st, 2nd, ... harmonic."""
    harmonics = [a * np.sin(2 * np.pi * hertz * k * time) for k, a in enumerate(overtones, 1)]
    tone: Samples = np.sum(harmonics, axis=0)
    return tone


SHAPES = (
    SoundingShape(
        "circle",
        (220, 60, 50),
        lambda x, y: x**2 + y**2 < 1,
        lambda t, pitch, _: _tone(t, 220 * pitch, (1.0, 0.5, 0.3)),
    ),
    SoundingShape(
        "square",
        (60, 90, 220),
        lambda x, y: (abs(x) < 0.85) & (abs(y) < 0.85),
        lambda t, pitch, _: np.sign(_tone(t, 660 * pitch)),
    ),
    SoundingShape(
        "triangle",
        (240, 200, 40),
        lambda x, y: (y > -0.9) & (y < 0.9) & (abs(x) < (y + 0.9) / 1.8),
        lambda t, pitch, _: np.sin(2 * np.pi * 1800 * pitch * t + 8 * np.sin(2 * np.pi * 6 * t)),
    ),
    SoundingShape(
        "cross",
        (60, 190, 90),
        lambda x, y: (np.minimum(abs(x), abs(y)) < 0.35) & (np.maximum(abs(x), abs(y)) < 1),
        lambda t, _, chance: chance.standard_normal(t.size) * (np.sin(2 * np.pi * 8 * t) > 0),
    ),
    SoundingShape(
        "diamond",
        (190, 80, 200),
        lambda x, y: abs(x) + abs(y) < 1,
        lambda t, pitch, _: np.sin(2 * np.pi * pitch * (600 * (t % 0.25) + 6000 * (t % 0.25) ** 2)),
    ),
    SoundingShape(
        "ring",
        (230, 230, 230),
        lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.25),
        lambda t, pitch, _: _tone(t, 3200 * pitch) * np.exp(-12 * (t % 0.2)),
    ),
)


@dataclass(frozen=True)
class _Moving:
    """A shape on its way through a scene; lengths are fractions of the frame's side."""

    shape: SoundingShape
    centre: NDArray[np.float64]
    velocity: NDArray[np.float64]
    radius: float
    colour: NDArray[np.float64]


class SyntheticAVS(Dataset[AVClip]):
    """Clips of moving shapes, composed on the fly; the same for the same seed and epoch.

    The pictures of a clip stay the same in every epoch, so that features of a frozen backbone can be kept; who sounds
    is drawn again.

    Args:
        kind: "s4": two shapes of which one sounds throughout. "ms3": two or three shapes of which a subset sounds
            that changes by the second and is sometimes empty. "both": even clips are "s4", odd ones "ms3".
        length: Number of clips.
        size: Side of the frames in pixels.
        seed: Clips of another seed are other clips.
        num_frames: Frames T, one second apart.
        hop_seconds: Seconds between two frames' sounds.
        remix: Whether `set_epoch` changes who sounds.
    """

    def __init__(
        self,
        kind: Literal["s4", "ms3", "both"] = "s4",
        length: int = 64,
        size: int = 64,
        seed: int = 0,
        *,
        num_frames: int = 5,
        hop_seconds: float = 1.0,
        remix: bool = True,
    ) -> None:
        self.kind, self.length, self.size, self.seed = kind, length, size, seed
        self.num_frames, self.hop_seconds, self.remix = num_frames, hop_seconds, remix
        self.epoch = 0

    def __len__(self) -> int:
        """Number of clips."""
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Draw again who sounds, reproducibly."""
        self.epoch = epoch if self.remix else 0

    def __getitem__(self, index: int) -> AVClip:
        if not 0 <= index < self.length:
            raise IndexError(f"clip {index} of {self.length}")
        pictures, objects = self.frames(index)
        waveform, sounding = self.sound(index, self.epoch)
        constant = bool((sounding == sounding[0]).all()) and int(sounding[0].sum()) == 1
        return AVClip(
            name=self.name(index),
            frames=rearrange(torch.from_numpy(pictures), "t h w c -> t c h w"),
            waveform=waveform,
            sample_rate=SAMPLE_RATE,
            hop_seconds=self.hop_seconds,
            masks=torch.from_numpy(sounding_masks(objects, sounding.numpy())).unsqueeze(1).float(),
            supervised=torch.ones(self.num_frames, dtype=torch.bool),
            objects=torch.from_numpy(objects).long(),
            sounding=sounding,
            category=self.classes(index)[int(sounding[0].long().argmax())] if constant else "",
        )

    def name(self, index: int) -> str:
        """Name of a clip."""
        return f"shapes_{self.seed}_{index:05d}"

    def classes(self, index: int) -> tuple[str, ...]:
        """Names of the shapes of a clip; number k in its object maps is the k-th."""
        return tuple(moving.shape.name for moving in self._scene(index))

    def frames(self, index: int) -> tuple[UInt8[np.ndarray, "t s s 3"], UInt8[np.ndarray, "t s s"]]:
        """Pictures (T, S, S, 3) RGB and object numbers (T, S, S) of one clip, 0 = background."""
        scene = self._scene(index)
        chance = self._chance(index, 1)
        side = (np.arange(self.size) + 0.5) / self.size
        y, x = np.meshgrid(side, side, indexing="ij")
        slope = chance.uniform(-60, 60, (2, 3))
        ground = chance.uniform(60, 150, 3) + x[..., None] * slope[0] + y[..., None] * slope[1]
        ground = ground + chance.normal(0, 6, ground.shape)
        pictures = np.repeat(ground[None], self.num_frames, axis=0)
        objects = np.zeros(pictures.shape[:3], np.uint8)
        for number, moving in enumerate(scene, start=1):
            for frame in range(self.num_frames):
                centre = moving.centre + frame * moving.velocity
                inside = moving.shape.inside(
                    (x - centre[0]) / moving.radius, (centre[1] - y) / moving.radius
                )
                pictures[frame][inside] = moving.colour
                objects[frame][inside] = number
        return pictures.clip(0, 255).astype(np.uint8), objects

    def waveform(self, index: int) -> tuple[Float[Tensor, " s"], int]:
        """The sound of one clip in the current epoch, one channel in [-1, 1], and its rate in Hz."""
        return self.sound(index, self.epoch)[0], SAMPLE_RATE

    def _scene(self, index: int) -> list[_Moving]:
        chance = self._chance(index, 0)
        count = 2 if self._is_s4(index) else int(chance.integers(2, 4))
        columns = chance.permutation(count)
        scene = []
        for shape, column in zip(
            chance.choice(len(SHAPES), count, replace=False), columns, strict=True
        ):
            radius = chance.uniform(0.13, 0.22) * (1.0 if count == 2 else 0.8)
            centre = np.array(
                [(column + 0.5) / count + chance.uniform(-0.04, 0.04), chance.uniform(0.3, 0.7)]
            )
            velocity = chance.uniform(-0.02, 0.02, 2)
            colour = np.array(SHAPES[shape].colour) + chance.normal(0, 12, 3)
            scene.append(_Moving(SHAPES[shape], centre, velocity, radius, colour))
        return scene

    def sound(self, index: int, epoch: int) -> tuple[Float[Tensor, " s"], Bool[Tensor, "t o"]]:
        """The waveform of one clip in one epoch, at 16 kHz, and which shape sounds in which second."""
        scene = self._scene(index)
        chance = self._chance(index, 2 + epoch)
        seconds = self.num_frames
        sounding = np.zeros((seconds, len(scene)), bool)
        if self._is_s4(index):
            sounding[:, chance.integers(len(scene))] = True
        else:
            for second in range(seconds):
                if second and chance.random() < 0.4:
                    sounding[second] = sounding[second - 1]
                elif chance.random() > 0.1:
                    sounding[
                        second, chance.permutation(len(scene))[: chance.integers(1, len(scene))]
                    ] = True
        time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
        mixed = chance.normal(0, 0.001, time.size)
        for column, moving in enumerate(scene):
            voice = moving.shape.voice(
                time + chance.random(), 2 ** (chance.uniform(-2, 2) / 12), chance
            )
            gain = 10 ** (chance.uniform(-6, 3) / 20) * 0.1 / np.sqrt(np.mean(voice**2))
            mixed = mixed + gain * voice * np.repeat(sounding[:, column], SAMPLE_RATE)
        return torch.from_numpy(mixed.clip(-1, 1).astype(np.float32)), torch.from_numpy(sounding)

    def _is_s4(self, index: int) -> bool:
        return self.kind == "s4" or (self.kind == "both" and index % 2 == 0)

    def _chance(self, index: int, purpose: int) -> np.random.Generator:
        """Independent randomness for every clip and purpose: 0 scene, 1 background, 2 + epoch sound."""
        return np.random.default_rng((self.seed, index, purpose))
