"""AVS-Collage: photographic cut-outs on photos with their own recordings, and exact masks of who sounds when.

It is a composed set: still pictures that glide over a photo, and recordings without natural synchrony. Say so wherever
its numbers stand.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.augment import VARIATIONS, Augmentation
from ecmvae.data.collage.render import render
from ecmvae.data.collage.scene import (
    SECONDS,
    SPLITS,
    Kind,
    PlacedObject,
    Scene,
    sample_activity,
    sample_free_scene,
    sample_off_screen,
    sample_recordings,
    sample_scene,
)
from ecmvae.data.collage.sound import mix_audio
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.images import sounding_masks
from ecmvae.errors import UserError
from ecmvae.types import AVClip

FRAME_TIMES = tuple(second + 0.5 for second in range(SECONDS))
"""Times of the annotated frames: the middle of each second."""


class CollageClips(Dataset[AVClip]):
    """Clips of AVS-Collage, composed when they are asked for.

    The *scene* of clip i (background, objects, motion) follows from seed, split and i alone, so what a frozen backbone
    makes of its frames may be kept. Who sounds, and how, is drawn again in every epoch when `remix` is set.

    Args:
        sources: Cut-outs, recordings and backgrounds.
        kind: s4 (one object sounds throughout), ms3 (a changing subset sounds) or both in turn.
        split: One of `SPLITS`.
        length: Number of clips.
        size: Side of the frames in pixels.
        seed: Seed of everything.
        remix: Draw recordings, activity and mix again in every epoch; otherwise they are those of epoch 0.
        hop_seconds: Seconds between two frames' sounds; 1.0 keeps that of frame k inside second k.
        free_scenes: Share of the training scenes that `sample_free_scene` composes.
        sound_augmentation: How much the recordings of training clips vary.
        negatives: Share of the clips with a sound of nothing in the picture (`sample_off_screen`): mostly alone, so
            that no mask is right, else on top of what is seen. Drawn again in every epoch when `remix` is set; the
            other clips are the same for every share.
        keep_frames: Keep rendered frames in memory (0.25 MB a clip at 128 pixels). Index maps are always kept.

    Raises:
        UserError: If kind or split is unknown.
    """

    def __init__(
        self,
        sources: CollageSources,
        kind: str = "both",
        split: str = "train",
        length: int = 1200,
        size: int = 128,
        seed: int = 0,
        remix: bool = True,
        hop_seconds: float = 1.0,
        keep_frames: bool = False,
        free_scenes: float = 0.0,
        sound_augmentation: Augmentation = "strong",
        negatives: float = 0.0,
    ) -> None:
        if kind not in ("s4", "ms3", "both"):
            raise UserError(f"AVS-Collage has no kind {kind!r}; there are s4, ms3 and both")
        if split not in SPLITS:
            raise UserError(f"AVS-Collage has no split {split!r}; there are {', '.join(SPLITS)}")
        self.sources, self.split, self.length = sources, split, length
        self._kinds: tuple[Kind, ...] = ("s4", "ms3") if kind == "both" else (cast(Kind, kind),)
        self.size, self.seed, self.remix, self.hop_seconds = size, seed, remix, hop_seconds
        self.keep_frames, self.negatives = keep_frames, negatives
        self.free_scenes = free_scenes if split == "train" else 0.0
        self._variation = VARIATIONS[sound_augmentation] if split == "train" else None
        self.num_frames = SECONDS
        self.epoch = 0
        self._frames: dict[int, UInt8[np.ndarray, "t h w 3"]] = {}
        self._objects: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Let the clips sound as in this epoch."""
        self.epoch = epoch

    def kind(self, index: int) -> Kind:
        """s4 or ms3."""
        return self._kinds[index % len(self._kinds)]

    def name(self, index: int) -> str:
        """Name of the clip; the same scene has the same name."""
        return f"{self.split}_{self.kind(index)}_{index:05d}"

    def classes(self, index: int) -> tuple[str, ...]:
        """Classes of the objects of clip `index`; number k in its object maps is the k-th."""
        return tuple(placed.category for placed in self.scene(index).objects)

    def scene(self, index: int) -> Scene:
        """What is seen in clip `index`, with the recordings of epoch 0."""
        rng = self._rng("scene", index)
        if self.free_scenes and rng.random() < self.free_scenes:
            return sample_free_scene(rng, self.sources)
        return sample_scene(rng, self.sources, self.kind(index), self.split)

    def frames(self, index: int) -> tuple[UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w"]]:
        """The five frames of clip `index` and their index maps (0 background, k object k)."""
        if index in self._frames:
            return self._frames[index], self.objects(index)
        frames, objects = render(self.scene(index), FRAME_TIMES, self.size, self.sources)
        self._objects[index] = zlib.compress(objects.tobytes(), 1)
        if self.keep_frames:
            self._frames[index] = frames
        return frames, objects

    def objects(self, index: int) -> UInt8[np.ndarray, "t h w"]:
        """The index maps of clip `index`, rendered once and then kept (about 2 kB)."""
        if index not in self._objects:
            return self.frames(index)[1]
        packed = zlib.decompress(self._objects[index])
        return np.frombuffer(packed, dtype=np.uint8).reshape(SECONDS, self.size, self.size)

    def compose_sound(
        self, index: int, epoch: int = 0
    ) -> tuple[Scene, Bool[np.ndarray, "t o"], Float32[np.ndarray, " s"]]:
        """The scene with this epoch's recordings, who sounds when, and the mixed waveform at 16 kHz."""
        epoch = epoch if self.remix else 0
        scene, rng = self.scene(index), self._rng("sound", index, epoch)
        if epoch:
            scene = sample_recordings(rng, scene, self.sources, self.split)
        can_sound = [bool(thing.sound) for thing in scene.objects]
        activity = np.zeros((SECONDS, len(can_sound)), dtype=bool)
        activity[:, can_sound] = sample_activity(rng, self.kind(index), sum(can_sound))
        # Its own generator: clips without an off-screen sound are the same for every share of negatives.
        chance = self._rng("off-screen", index, epoch)
        if chance.random() < self.negatives:
            off_screen = sample_off_screen(chance, scene, self.sources)
            scene = replace(scene, off_screen=off_screen)
            activity &= not off_screen.alone
        return scene, activity, mix_audio(scene, activity, rng, self._variation, self.sources)

    def sound(
        self, index: int, epoch: int = 0
    ) -> tuple[Float[Tensor, " s"], Bool[Tensor, "t o"], Float[Tensor, "t 1 h w"]]:
        """What an epoch changes in clip `index`: the waveform, who sounds, and the masks that follow from it."""
        _, activity, waveform = self.compose_sound(index, epoch)
        masks = sounding_masks(self.objects(index), activity)
        return (
            torch.from_numpy(waveform),
            torch.from_numpy(activity),
            torch.from_numpy(masks).unsqueeze(1).float(),
        )

    def waveform(self, index: int) -> tuple[Float[Tensor, " s"], int]:
        """The sound of clip `index` in the current epoch, one channel in [-1, 1], and its rate in Hz."""
        return torch.from_numpy(self.compose_sound(index, self.epoch)[2]), SAMPLE_RATE

    def other_sound(self, sort: str, index: int) -> tuple[str, Float[Tensor, " s"]] | None:
        """Id and recording of a held-out sound of none of the classes, such as speech or music, for clip `index`."""
        others = self.sources.others(held_out=True, sorts=(sort,))
        if not others:
            return None
        chosen = others[int(self._rng(f"other {sort}", index).integers(len(others)))]
        return chosen, torch.from_numpy(self.sources.load_other(chosen).copy())

    def heard(self, index: int) -> PlacedObject:
        """The object that sounds longest in clip `index` in the current epoch, without rendering it."""
        scene, sounding, _ = self.compose_sound(index, self.epoch)
        return _heard(scene, sounding)

    def __getitem__(self, index: int) -> AVClip:
        if not 0 <= index < self.length:
            raise IndexError(index)
        frames, objects = self.frames(index)
        scene, sounding, waveform = self.compose_sound(index, self.epoch)
        heard = _heard(scene, sounding)
        return AVClip(
            name=self.name(index),
            frames=rearrange(torch.from_numpy(frames), "t h w c -> t c h w"),
            waveform=torch.from_numpy(waveform),
            sample_rate=SAMPLE_RATE,
            hop_seconds=self.hop_seconds,
            masks=torch.from_numpy(sounding_masks(objects, sounding)).unsqueeze(1).float(),
            supervised=torch.ones(SECONDS, dtype=torch.bool),
            objects=torch.from_numpy(objects.astype(np.int64)),
            sounding=torch.from_numpy(sounding),
            classes=tuple(placed.category for placed in scene.objects),
            heard=self._heard_classes(scene, sounding),
            category=heard.category if self.kind(index) == "s4" and sounding.any() else "",
            picture=heard.image,
            recording=heard.sound,
        )

    def _heard_classes(
        self, scene: Scene, sounding: Bool[np.ndarray, "t o"]
    ) -> tuple[tuple[str, ...], ...]:
        """Classes that sound in each frame."""
        off_screen = scene.off_screen
        besides: tuple[str, ...] = ()
        if off_screen is not None and off_screen.kind == "sound":
            besides = (self.sources.item("sound", off_screen.sound).category,)
        return tuple(
            tuple(scene.objects[k].category for k in np.flatnonzero(row)) + besides
            for row in sounding
        )

    def _rng(self, purpose: str, index: int, epoch: int = 0) -> np.random.Generator:
        label = zlib.crc32(f"{purpose} {self.split} {self.kind(index)}".encode())
        return np.random.default_rng([self.seed, label, index, epoch])


def _heard(scene: Scene, sounding: Bool[np.ndarray, "t o"]) -> PlacedObject:
    """The object that sounds longest, and the first of several."""
    return scene.objects[int(sounding.sum(axis=0).argmax())]
