"""AVSBench's S4 and MS3 as typed clips, read from the released folders; AVS-Collage on disk is read by the same code.

Zhou et al., "Audio-visual segmentation", ECCV 2022 (arXiv:2207.05042). `ecmvae.data.layout` knows where the files lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.io import read_wave
from ecmvae.audio.vggish import RELEASED_HOP_SECONDS, VGGishFrontEnd
from ecmvae.data.images import (
    of_size,
    read_indices,
    read_mask,
    read_released_mask,
    read_rgb,
    same_size,
)
from ecmvae.data.layout import ClipFiles, TaskName, find_table, read_clips
from ecmvae.data.safe_pickle import load_tensor
from ecmvae.data.transforms import ClipTransform
from ecmvae.errors import UserError
from ecmvae.foreign_text import LARGE, read_json
from ecmvae.types import AVClip


class AVSBenchDataset(Dataset[AVClip]):
    """The clips of one split, in the order of the csv.

    Args:
        root: Folder that holds `Single-source` or `Multi-sources`, or one of these itself.
        task: "s4" or "ms3".
        split: Value of the csv's split column, such as "train", "val" or "test".
        image_size: Side of the square frames, in pixels. AVSBench's files are 224 x 224.
        num_frames: Frames T of a clip.
        hop_seconds: Seconds between two frames' sounds; 0.96 as released.
        audio: "log_mel" gives the released pickles, a cache of VGGish's features; "wav" gives the sound. "auto" gives
            the sound, and the pickle too where there is one and `hop_seconds` is the pickles' 0.96; a clip with a
            pickle may lack its sound.
        supervised: Which masks of the training split may train. "auto" = those that exist: of S4 as released only the
            first, of MS3 and AVS-Collage all. "first" = only the first, even where there are more. "all" = all, and
            all must exist, as they must in every other split.
        mask_rule: "any" = every pixel that is not black sounds; "released" = as `read_released_mask`, which trains on
            the grey levels of MS3. What is scored is 0 or 1 in either case: any level above 0 is 1.

    Raises:
        UserError: If the csv or the split is missing or wrong, or "log_mel" is asked for at another hop. Reading a
            clip raises it for a file that is missing, damaged or of another size.
    """

    def __init__(
        self,
        root: str | Path,
        task: TaskName,
        split: str = "train",
        *,
        image_size: int = 224,
        num_frames: int = 5,
        hop_seconds: float = RELEASED_HOP_SECONDS,
        audio: Literal["auto", "log_mel", "wav"] = "auto",
        supervised: Literal["auto", "first", "all"] = "auto",
        mask_rule: Literal["any", "released"] = "any",
    ) -> None:
        if audio == "log_mel" and hop_seconds != RELEASED_HOP_SECONDS:
            raise UserError(
                f"log-mel pickles hold patches every {RELEASED_HOP_SECONDS} s: set data.hop_seconds to that"
            )
        self.clips = read_clips(root, task, split)
        self.task, self.split = task, split
        self.num_frames, self.hop_seconds = num_frames, hop_seconds
        self.audio, self.supervised, self.mask_rule = audio, supervised, mask_rule
        self.transform = ClipTransform(image_size)
        self._numbers = range(1, num_frames + 1)
        self.composition = read_composition(find_table(root, task).parent / "clips.json")

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> AVClip:
        clip = self.clips[index]
        paths = [clip.frame(k) for k in self._numbers]
        pictures = np.stack(same_size(paths, [read_rgb(path) for path in paths]))
        masks, supervised = self._masks(clip, pictures.shape[1:3])
        objects, sounding = self._objects(clip, pictures.shape[1:3])
        maps = masks if objects is None else np.concatenate([masks, objects])
        picture, recording = self._heard(clip)
        frames, moved = self.transform(pictures, maps)
        assert moved is not None
        return AVClip(
            name=clip.name,
            frames=frames,
            hop_seconds=self.hop_seconds,
            **self.sound_fields(index),
            masks=(moved[: self.num_frames].float() / 255).unsqueeze(1),
            supervised=supervised,
            objects=None if objects is None else moved[self.num_frames :].long(),
            sounding=sounding,
            category=clip.category,
            picture=picture,
            recording=recording,
        )

    def sound_fields(self, index: int) -> dict[str, Any]:
        """What an `AVClip` says about the sound of one clip, without reading its pictures."""
        clip = self.clips[index]
        fields: dict[str, Any] = {"waveform": None, "audio": None, "audio_kind": ""}
        released_hop = self.hop_seconds == RELEASED_HOP_SECONDS
        if self.audio == "log_mel" or (
            self.audio == "auto" and released_hop and clip.log_mel.is_file()
        ):
            fields |= {"audio": self._pickled(clip), "audio_kind": VGGishFrontEnd.name}
        if self.audio == "wav" or (
            self.audio == "auto" and (fields["audio"] is None or clip.wav.is_file())
        ):
            fields["waveform"], fields["sample_rate"] = self.waveform(index)
        return fields

    def _pickled(self, clip: ClipFiles) -> Float[Tensor, "t 1 m f"]:
        """The released log-mel patches of one clip, cut to the frames or the last one repeated, as in the release."""
        patches = load_tensor(clip.log_mel).float()
        wanted = VGGishFrontEnd.feature_shape
        if patches.ndim != 4 or patches.shape[1:] != wanted or len(patches) == 0:
            shape = ", ".join(map(str, wanted))
            raise UserError(
                f"{clip.log_mel}: must have shape (T, {shape}), not {tuple(patches.shape)}"
            )
        if not patches.isfinite().all():
            raise UserError(
                f"{clip.log_mel}: holds NaN or infinity: remove it, and it is computed from the sound"
            )
        return patches[torch.arange(self.num_frames).clamp(max=len(patches) - 1)]

    def waveform(self, index: int) -> tuple[Float[Tensor, " s"], int]:
        """The sound of one clip, one channel in [-1, 1], and its rate in Hz."""
        return read_wave(self.clips[index].wav)

    def name(self, index: int) -> str:
        """Name of one clip."""
        return self.clips[index].name

    def classes(self, index: int) -> tuple[str, ...]:
        """Classes of one clip's visible objects; of released clips only the category is known, of MS3 nothing."""
        clip = self.clips[index]
        composed = self.composition.get(clip.name, {})
        return tuple(composed.get("objects", [clip.category] if clip.category else []))

    def _masks(
        self, clip: ClipFiles, size: tuple[int, int]
    ) -> tuple[np.ndarray, Bool[Tensor, " t"]]:
        """Masks (T, H, W) from 0 to 255, zero where there is none, and which of them may train (T,)."""
        masks = np.zeros((self.num_frames, *size), np.uint8)
        supervised = torch.zeros(self.num_frames, dtype=torch.bool)
        for frame, path in enumerate(clip.mask(k) for k in self._numbers):
            # Only training may lack masks: S4 was released with the first one of each training clip.
            optional = frame > 0 and self.split == "train" and self.supervised != "all"
            if optional and (self.supervised == "first" or not path.is_file()):
                continue
            masks[frame] = of_size(path, self._mask(path), size)
            supervised[frame] = True
        return masks, supervised

    def _mask(self, path: Path) -> UInt8[np.ndarray, "h w"]:
        """One mask from 0 to 255; only those to train on may have levels in between."""
        if self.mask_rule == "any":
            return read_mask(path).astype(np.uint8) * np.uint8(255)
        levels = read_released_mask(path, "1" if self.task == "s4" else "P")
        return levels if self.split == "train" else np.where(levels > 0, np.uint8(255), np.uint8(0))

    def _objects(
        self, clip: ClipFiles, size: tuple[int, int]
    ) -> tuple[np.ndarray | None, Bool[Tensor, "t o"] | None]:
        """Object numbers (T, H, W) uint8 and who sounds (T, O), for composed clips; else None."""
        composed = self.composition.get(clip.name)
        paths = [clip.mask(k, "object_masks") for k in self._numbers]
        if composed is None or not paths[0].is_file():
            return None, None
        sounding = torch.tensor(composed["sounding"], dtype=torch.bool)
        objects = np.stack([of_size(path, read_indices(path), size) for path in paths])
        if (
            sounding.ndim != 2
            or len(sounding) < self.num_frames
            or objects.max() > sounding.shape[1]
        ):
            raise UserError(
                f"clips.json: {clip.name} must say for {self.num_frames} seconds who of its objects sounds"
            )
        return objects, sounding[: self.num_frames]

    def _heard(self, clip: ClipFiles) -> tuple[str, str]:
        """Picture and recording of the object that sounds longest; empty where the clip does not name them."""
        composed = self.composition.get(clip.name, {})
        pictures, recordings = (composed.get(key) for key in ("images", "sounds"))
        if not pictures or not recordings:
            return "", ""
        longest = int(np.sum(composed["sounding"], axis=0).argmax())
        return str(pictures[longest]), str(recordings[longest])


def read_composition(path: Path) -> dict[str, dict[str, Any]]:
    """What AVS-Collage wrote about its clips, by name; empty for data sets that have no such file."""
    if not path.is_file():
        return {}
    clips = read_json(path, LARGE)
    if not isinstance(clips, dict) or not all(map(_is_composed, clips.values())):
        raise UserError(
            f"{path}: must map each clip's name to its objects and their sounding seconds"
        )
    return clips


def _is_composed(clip: Any) -> bool:
    """Whether this says of one clip, for each second, which of its objects sound, and names all or none of them."""
    sounding = clip.get("sounding") if isinstance(clip, dict) else None
    if (
        not isinstance(sounding, list)
        or not sounding
        or not all(isinstance(second, list) for second in sounding)
    ):
        return False
    count = len(sounding[0])
    if not all(
        len(second) == count and all(type(each) in (bool, int) for each in second)
        for second in sounding
    ):
        return False
    named = [clip[key] for key in ("objects", "images", "sounds") if clip.get(key)]
    return all(
        isinstance(names, list)
        and len(names) == count
        and all(isinstance(name, str) for name in names)
        for names in named
    )
