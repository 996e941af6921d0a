"""AVSBench-semantic (AVSS): 70 classes and background, clips of five or ten seconds, from the released folders.

Zhou et al., "Audio-visual segmentation with semantics", IJCV 2024 (arXiv:2301.13190). Three subsets share one table:
`v1s` (S4's clips, in training with the first label only), `v1m` (MS3's clips) and `v2` (ten seconds, all labelled).
Clips of five seconds are padded to ten; `valid` says which frames are real.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.io import read_wave
from ecmvae.audio.vggish import RELEASED_HOP_SECONDS
from ecmvae.data.images import of_size, read_rgb, same_size
from ecmvae.data.layout import of_split, read_table
from ecmvae.data.palette import voc_palette
from ecmvae.data.transforms import ClipTransform
from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, read_json, short
from ecmvae.types import AVClip

NUM_CLASSES = 71
"""Background (0) and 70 categories."""

RELEASED_SIZE = 224
"""Side in pixels at which the release evaluates, whatever the size of the pictures."""

SUBSET_SECONDS = {"v1s": 5, "v1m": 5, "v2": 10}
"""Frames of a clip in each subset."""


@dataclass(frozen=True, kw_only=True)
class AVSSFiles:
    """One row of AVSS' table (its uid, split, and label: the subset), and where the clip's files lie below `root`."""

    root: Path
    name: str
    split: str
    subset: str

    @property
    def seconds(self) -> int:
        """Frames of the clip."""
        return SUBSET_SECONDS[self.subset]

    @property
    def labelled(self) -> int:
        """How many of the frames, from the first on, have a label."""
        return 1 if self.subset == "v1s" and self.split == "train" else self.seconds

    def frame(self, k: int) -> Path:
        """The picture of second `k`, counted from 0."""
        return self.root / self.subset / self.name / "frames" / f"{k}.jpg"

    def label(self, k: int) -> Path:
        """The coloured label of second `k`, counted from 0."""
        return self.root / self.subset / self.name / "labels_rgb" / f"{k}.png"

    @property
    def wav(self) -> Path:
        """The sound."""
        return self.root / self.subset / self.name / "audio.wav"


def read_avss(root: str | Path, split: str | None = None) -> list[AVSSFiles]:
    """The clips of AVSS in the order of metadata.csv.

    Raises:
        UserError: If the table is missing, lacks a column, names another subset or has no clip of the split.
    """
    root = Path(root)
    table = root / "metadata.csv"
    if not table.is_file():
        raise UserError(f"{root}: holds no metadata.csv; give the folder of AVSBench-semantic")
    clips = []
    for row in read_table(table, ("uid", "split", "label")):
        if row["label"] not in SUBSET_SECONDS:
            raise UserError(
                f"{table}: {row['uid']} has label {short(row['label'])}; known are {', '.join(SUBSET_SECONDS)}"
            )
        clips.append(AVSSFiles(root=root, name=row["uid"], split=row["split"], subset=row["label"]))
    return of_split(clips, split, table)


class AVSSDataset(Dataset[AVClip]):
    """The clips of one split of AVSS.

    Args:
        root: Folder that holds metadata.csv, v1s, v1m and v2.
        split: train, val or test.
        image_size: Side of the square frames in pixels.
        num_frames: Frames T that every clip is padded or cut to.
        hop_seconds: Seconds between two frames' sounds.
        geometry: "crop" scales the short side and cuts out the centre, "squash" ignores the aspect. "auto" crops in
            training and squashes elsewhere, as the release does.

    Raises:
        UserError: If table or split are missing or wrong. Reading a clip raises it for a file that is missing,
            damaged, of another size or of a colour that belongs to no class.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        image_size: int = 224,
        num_frames: int = 10,
        hop_seconds: float = RELEASED_HOP_SECONDS,
        geometry: Literal["auto", "crop", "squash"] = "auto",
    ) -> None:
        self.clips = read_avss(root, split)
        self.root, self.num_frames, self.hop_seconds = Path(root), num_frames, hop_seconds
        self.crop = geometry == "crop" or (geometry == "auto" and split == "train")
        self.transform = ClipTransform(image_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return tuple(class_names(self.root))

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> AVClip:
        clip = self.clips[index]
        real, labelled = min(clip.seconds, self.num_frames), min(clip.labelled, self.num_frames)
        paths = [clip.frame(k) for k in range(real)]
        pictures = same_size(paths, [read_rgb(path) for path in paths])
        size = pictures[0].shape[:2]
        shown = np.zeros((self.num_frames, *size, 3), np.uint8)
        shown[:real] = pictures
        classes = np.zeros((self.num_frames, *size), np.uint8)
        classes[:labelled] = [
            of_size(clip.label(k), read_classes(clip.label(k)), size) for k in range(labelled)
        ]
        if self.crop:
            shown, classes = _centre(shown), _centre(classes)
        frames, moved = self.transform(shown, classes)
        assert moved is not None
        position = torch.arange(self.num_frames)
        waveform, rate = self.waveform(index)
        return AVClip(
            name=clip.name,
            frames=frames,
            waveform=waveform,
            sample_rate=rate,
            hop_seconds=self.hop_seconds,
            masks=(moved > 0).float().unsqueeze(1),
            supervised=position < labelled,
            category=clip.subset,
            labels=moved.long(),
            valid=position < real,
        )

    def name(self, index: int) -> str:
        """The clip's uid."""
        return self.clips[index].name

    def classes(self, index: int) -> tuple[str, ...]:
        """None: the labels name only what sounds."""
        return ()

    def waveform(self, index: int) -> tuple[Tensor, int]:
        """The clip's sound (S,) and its rate in Hz."""
        return read_wave(self.clips[index].wav)


def read_classes(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Read a coloured label as class numbers (H, W).

    Raises:
        UserError: If the file is missing or unreadable, or holds a colour that belongs to no class.
    """
    pixels = read_rgb(path)
    place = np.array([1 << 16, 1 << 8, 1])
    classes: UInt8[np.ndarray, "h w"] = _class_of_colour()[pixels @ place]
    if (wrong := classes == _NO_CLASS).any():
        y, x = np.argwhere(wrong)[0]
        raise UserError(
            f"{path}: colour {tuple(pixels[y, x].tolist())} at ({x}, {y}) belongs to no class"
        )
    return classes


@cache
def _class_of_colour() -> UInt8[np.ndarray, " 16777216"]:
    """The class of every colour, as one number of 24 bits."""
    table = np.full(1 << 24, _NO_CLASS, np.uint8)
    table[voc_palette(NUM_CLASSES) @ np.array([1 << 16, 1 << 8, 1])] = np.arange(NUM_CLASSES)
    return table


_NO_CLASS = 255


def class_names(root: str | Path) -> list[str]:
    """Names of the classes by number, from label2idx.json.

    Raises:
        UserError: If the file is missing or does not number its names 0, 1, 2, ...
    """
    path = Path(root) / "label2idx.json"
    try:
        numbers = read_json(path)
        names = sorted(numbers, key=lambda name: int(numbers[name]))
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{path}: cannot be read as a table of class numbers ({cut(str(error))})"
        ) from error
    if [int(numbers[name]) for name in names] != list(range(len(names))):
        raise UserError(f"{path}: classes must be numbered 0, 1, 2, ... without a gap")
    return names


def _centre(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The central square of (T, H, W, ...)."""
    height, width = pixels.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[:, top : top + side, left : left + side]


def save_classes(path: Path, classes: UInt8[np.ndarray, "h w"]) -> None:
    """Write class numbers (H, W) as the coloured label that `read_classes` reads."""
    Image.fromarray(voc_palette(NUM_CLASSES)[classes]).save(path)
