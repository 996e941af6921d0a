"""Clips of any data set that has a record, read by one class: stills with the sound around them, or longer videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from ecmvae.audio.io import SAMPLE_RATE, read_wave, resample
from ecmvae.config import DataConfig
from ecmvae.data.clips import ClipSource
from ecmvae.data.images import read_rgb, same_size
from ecmvae.data.sets.records import RECORDS, DataSetRecord
from ecmvae.data.sets.rows import IGNORED, ClipRow, read_rows
from ecmvae.data.transforms import ClipTransform
from ecmvae.errors import UserError
from ecmvae.types import AVClip


class RecordedClips(Dataset[AVClip]):
    """The clips of one split.

    A still is a clip of one frame. A video is cut into clips of `num_frames`; where its length is not a multiple, the
    last clip begins earlier and its first frames, which belong to the clip before it, are not `valid`. A shorter video
    repeats its last frame, not `valid` either.

    Args:
        record: Which data set.
        root: The folder that holds its table.
        split: One of its splits.
        image_size: Side of the square frames, in pixels.
        num_frames: Frames T of a clip at most.

    Attributes:
        class_names: Names of the classes by number; empty without classes.
        start_seconds: Where in its sound the second of a still begins.

    Raises:
        UserError: See `read_rows`. Reading a clip raises it for a file that is missing, damaged or of another size.
    """

    def __init__(
        self,
        record: DataSetRecord,
        root: str | Path,
        split: str,
        *,
        image_size: int = 224,
        num_frames: int = 5,
    ) -> None:
        self.record, self.class_names = record, record.classes
        self.rows = read_rows(record, root, split)
        self.num_frames = (
            1 if record.stills else min(num_frames, max(len(row.frames) for row in self.rows))
        )
        self.hop_seconds = record.hop_seconds or 1.0
        self.start_seconds = record.sound_seconds / 2 - 0.5 if record.stills else 0.0
        self.transform = ClipTransform(image_size)
        self.windows = [
            (row, *window)
            for row in self.rows
            for window in windows(len(row.frames), self.num_frames)
        ]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.windows)

    def __getitem__(self, index: int) -> AVClip:
        row, numbers, fresh = self.windows[index]
        paths = [row.frames[k] for k in numbers]
        pictures = np.stack(same_size(paths, [read_rgb(path) for path in paths]))
        frames, _ = self.transform(pictures)
        valid = torch.tensor(fresh)
        return AVClip(
            name=self.name(index),
            frames=frames,
            **self.sound_fields(index),
            **self._truth(row, numbers, pictures.shape[1:3]),
            valid=valid,
            supervised=valid,
            category=row.category,
            picture=row.picture,
            recording=row.sounds[0].stem if row.picture else "",
        )

    def name(self, index: int) -> str:
        """Name of one clip: that of the video, with the number of its first frame where there are several clips."""
        row, numbers, _ = self.windows[index]
        return row.name if len(row.frames) <= self.num_frames else f"{row.name}@{numbers[0]}"

    def classes(self, index: int) -> tuple[str, ...]:
        """Classes of what is seen, as far as the table names them."""
        return self.windows[index][0].seen

    def waveform(self, index: int) -> tuple[Float[Tensor, " s"], int]:
        """The sound of one clip, one channel, and its rate in Hz."""
        fields = self.sound_fields(index)
        return fields["waveform"], fields["sample_rate"]

    def sound_fields(self, index: int) -> dict[str, Any]:
        """What an `AVClip` says about the sound of one clip, without reading its pictures."""
        row, numbers, _ = self.windows[index]
        if self.record.stills:
            parts = [
                middle(resample(*read_wave(path)), self.record.sound_seconds) for path in row.sounds
            ]
            return {
                "waveform": torch.stack(parts).sum(dim=0),
                "sample_rate": SAMPLE_RATE,
                "hop_seconds": self.hop_seconds,
                "start_seconds": self.start_seconds,
            }
        sound, rate = read_wave(row.sounds[0])
        hop = self.record.hop_seconds or max(len(sound) / rate / len(row.frames), 0.01)
        start, stop = (round(k * hop * rate) for k in (numbers[0], numbers[0] + self.num_frames))
        return {"waveform": sound[start:stop], "sample_rate": rate, "hop_seconds": hop}

    def _truth(self, row: ClipRow, numbers: list[int], size: tuple[int, ...]) -> dict[str, Any]:
        """Masks and, where there are classes, labels and the unlabelled pixels; {} without truth."""
        truths = [row.truths[k] for k in numbers]
        maps: list[Tensor] = []
        for truth in truths:
            if truth is None:
                return {}
            marked = truth.read()
            if self.record.truth != "boxes" and marked.shape != size:
                where = truth.paths[0] if truth.paths else row.name
                here, there = (f"{shape[1]} x {shape[0]}" for shape in (marked.shape, size))
                raise UserError(f"{where}: is {here} pixels but the clip's first frame is {there}")
            maps.append(self._resized(marked))
        numbers_of = torch.stack(maps)
        ignored = numbers_of == IGNORED
        labels = numbers_of.masked_fill(ignored, 0)
        fields = {"masks": (labels > 0).float().unsqueeze(1)}
        if self.class_names:
            fields |= {"labels": labels.long(), "ignored": ignored}
        return fields

    def _resized(self, numbers: UInt8[np.ndarray, "h w"]) -> UInt8[Tensor, "s s"]:
        """The same map at the size of the frames, each pixel the nearest one's."""
        plane = torch.from_numpy(np.ascontiguousarray(numbers))
        if plane.shape == self.transform.size:
            return plane
        return interpolate(plane[None, None], size=self.transform.size, mode="nearest-exact")[0, 0]


def windows(length: int, frames: int) -> list[tuple[list[int], list[bool]]]:
    """The clips of a video: the numbers of their frames, and which of these count.

    Example:
        >>> windows(5, 2)
        [([0, 1], [True, True]), ([2, 3], [True, True]), ([3, 4], [False, True])]
        >>> windows(1, 2)
        [([0, 0], [True, False])]
    """
    if length <= frames:
        return [([min(k, length - 1) for k in range(frames)], [k < length for k in range(frames)])]
    starts = [*range(0, length - frames + 1, frames)]
    found = [([*range(start, start + frames)], [True] * frames) for start in starts]
    if rest := length % frames:
        found.append(
            ([*range(length - frames, length)], [k >= frames - rest for k in range(frames)])
        )
    return found


def middle(
    waveform: Float[Tensor, " s"], seconds: float, rate: int = SAMPLE_RATE
) -> Float[Tensor, " k"]:
    """The middle of a sound, which is repeated where it is shorter, as the released loaders of stills do."""
    count = round(seconds * rate)
    if len(waveform) < count:
        return waveform.repeat(-(-count // len(waveform)))[:count]
    start = len(waveform) // 2 - count // 2
    return waveform[start : start + count]


def load_recorded(data: DataConfig, split: str, *, seed: int = 0) -> ClipSource:
    """One split of the data set that ``data.name`` names, by its record."""
    record = RECORDS[data.name]
    if data.root is None:
        raise UserError(
            f"data.name is {data.name}: say where its folder lies with --data.root FOLDER"
        )
    return RecordedClips(
        record, data.root, split, image_size=data.image_size, num_frames=data.num_frames
    )
