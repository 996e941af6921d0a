"""Clips packed into a few large files, as `ecmvae data pack` writes them: read by mapping the files into memory.

A folder holds ``packed.json`` and shards of 128 clips, each a safetensors file. A training run asks for clips in an
order of its own, in any of many processes: memory maps give each clip at once and share one copy in the page cache,
where tar shards would have to be read in a row. Nothing is compressed but masks, which are kept as bits, and nothing is
resized or decoded when a clip is read.

Every number is kept in the smallest type that gives it back exactly, so a packed clip equals the one that was packed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.config import DataConfig
from ecmvae.data.packed_shards import PCM, TENSORS, Shard, ShardFile, decode_masks, odd_shape
from ecmvae.errors import UserError
from ecmvae.foreign_text import LARGE, read_json, short
from ecmvae.types import AVClip

INDEX = "packed.json"
FORMAT, VERSION = "ecmvae packed clips", 1
CLIPS_PER_SHARD = 128
TEXTS = ("name", "audio_kind", "category", "picture", "recording")
NUMBERS = ("sample_rate", "hop_seconds", "start_seconds")

_OPEN_SHARDS = 128


def holds_packed(root: str | Path) -> bool:
    """Whether `root` is a folder of packed clips, finished or not."""
    return (Path(root) / INDEX).is_file() or any(
        Path(root).glob("*-[0-9][0-9][0-9][0-9][0-9].safetensors")
    )


@dataclass(frozen=True, kw_only=True)
class PackedIndex:
    """What ``packed.json`` says.

    Attributes:
        root: The folder.
        source: Name of the data set that was packed, as in ``data.name``.
        image_size, num_frames, hop_seconds: As it was packed.
        class_names: Of a data set with several classes; else empty.
        splits: Name -> its shards.
        names: Split -> names of its clips, in order.
        classes: Split -> names of each clip's visible objects.
    """

    root: Path
    source: str
    image_size: int
    num_frames: int
    hop_seconds: float
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]
    names: Mapping[str, tuple[str, ...]]
    classes: Mapping[str, tuple[tuple[str, ...], ...]]

    @classmethod
    def read(cls, root: str | Path) -> PackedIndex:
        """Read and check the index of a folder.

        Raises:
            UserError: If packing was not finished, or the index is damaged, lies about its shards, or is of another
                version.
        """
        path = Path(root) / INDEX
        if not path.is_file():
            raise UserError(
                f"{root}: packing was not finished: run the same ecmvae data pack again, it goes on"
            )
        found = read_json(path, LARGE)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise UserError(f"{path}: is not an index of packed clips")
        if found.get("version") != VERSION:
            raise UserError(
                f"{path}: is of version {short(found.get('version'))}, this ecmvae reads {VERSION}: pack the data again"
            )
        try:
            index = cls._from(Path(root), found)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(
                f"{path}: is damaged ({type(error).__name__}: {error}): pack the data again"
            ) from error
        for split, shards in index.splits.items():
            wanted = -(-len(index.names[split]) // CLIPS_PER_SHARD)
            plain = all(Path(each.file).name == each.file for each in shards)
            if (
                len(shards) != wanted
                or len(index.classes[split]) != len(index.names[split])
                or not plain
            ):
                raise UserError(
                    f"{path}: is damaged (its {split} clips do not fit its shards): pack the data again"
                )
        return index

    @classmethod
    def _from(cls, root: Path, found: Mapping[str, Any]) -> PackedIndex:
        return cls(
            root=root,
            source=str(found["source"]),
            image_size=int(found["image_size"]),
            num_frames=int(found["num_frames"]),
            hop_seconds=float(found["hop_seconds"]),
            class_names=tuple(map(str, found["class_names"])),
            splits={
                split: tuple(
                    Shard(str(each["file"]), int(each["bytes"]), int(each["header"]))
                    for each in part["shards"]
                )
                for split, part in found["splits"].items()
            },
            names={
                split: tuple(map(str, part["names"])) for split, part in found["splits"].items()
            },
            classes={
                split: tuple(tuple(map(str, each)) for each in part["classes"])
                for split, part in found["splits"].items()
            },
        )

    @property
    def data(self) -> DataConfig:
        """The configuration that reads these clips."""
        return DataConfig(
            name="packed",
            root=str(self.root),
            image_size=self.image_size,
            num_frames=self.num_frames,
            hop_seconds=self.hop_seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of ``packed.json``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "source": self.source,
            "image_size": self.image_size,
            "num_frames": self.num_frames,
            "hop_seconds": self.hop_seconds,
            "class_names": list(self.class_names),
            "splits": {
                split: {
                    "names": list(self.names[split]),
                    "classes": [list(each) for each in self.classes[split]],
                    "shards": [vars(shard) for shard in shards],
                }
                for split, shards in self.splits.items()
            },
        }


class PackedClips(Dataset[AVClip]):
    """The clips of one split of a packed data set, equal to those that were packed.

    Args:
        index: Of the folder.
        split: One that was packed.
        first_only: Of S4 and MS3: masks of the training split after the first one are left out, as
            ``data.supervised: first`` does where the files are read.

    Raises:
        UserError: If the split was not packed. Reading a clip raises it for a damaged shard, which is named.
    """

    def __init__(self, index: PackedIndex, split: str, *, first_only: bool = False) -> None:
        if split not in index.splits:
            raise UserError(
                f"{index.root}: split {short(split)} is not packed, only {', '.join(index.splits)}"
            )
        self.index, self.split, self.first_only = index, split, first_only
        self.num_frames, self.hop_seconds = index.num_frames, index.hop_seconds
        self.class_names = index.class_names
        self._names, self._shards = index.names[split], index.splits[split]
        self._open: OrderedDict[int, ShardFile] = OrderedDict()

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._names)

    def __getstate__(self) -> dict[str, Any]:
        """Without the open shards: every process maps them for itself."""
        return {**self.__dict__, "_open": OrderedDict()}

    def __getitem__(self, index: int) -> AVClip:
        read, about, shard = self._clip(index)
        frames, size = self.num_frames, self.index.image_size
        fields: dict[str, Any] = {
            name: read(name) for name in TENSORS if name not in ("waveform", "audio")
        }
        if (odd := odd_shape(fields, frames, size)) is not None:
            raise shard.torn(odd)
        for name in ("objects", "labels"):
            fields[name] = None if fields[name] is None else fields[name].long()
        if fields["masks"] is not None:
            fields["masks"] = decode_masks(fields["masks"], frames, size)
        if self.first_only and fields["masks"] is not None and fields["supervised"] is not None:
            fields["supervised"] = fields["supervised"] & (torch.arange(frames) == 0)
            fields["masks"] = fields["masks"] * fields["supervised"][:, None, None, None]
        texts = {name: str(about[name]) for name in TEXTS}
        return AVClip(**(texts | fields | self.sound_fields(index)))

    def sound_fields(self, index: int) -> dict[str, Any]:
        """What an `AVClip` says about the sound of one clip, without reading its pictures."""
        read, about, _ = self._clip(index)
        waveform = read("waveform")
        if waveform is not None and waveform.dtype == torch.int16:
            waveform = waveform / PCM
        numbers = {name: float(about[name]) for name in NUMBERS} | {
            "sample_rate": int(about["sample_rate"])
        }
        return {
            "waveform": waveform,
            "audio": read("audio"),
            "audio_kind": str(about["audio_kind"]),
            **numbers,
        }

    def waveform(self, index: int) -> tuple[Tensor, int]:
        """The sound of one clip, one channel in [-1, 1], and its rate in Hz.

        Raises:
            UserError: If it was packed without one.
        """
        fields = self.sound_fields(index)
        if fields["waveform"] is None:
            raise UserError(
                f"{self.name(index)}: was packed without its sound, only with {fields['audio_kind']} features"
            )
        return fields["waveform"], fields["sample_rate"]

    def name(self, index: int) -> str:
        """Name of one clip."""
        return self._names[index]

    def classes(self, index: int) -> tuple[str, ...]:
        """Classes of one clip's visible objects, as far as they are known."""
        return self.index.classes[self.split][index]

    def _clip(
        self, index: int
    ) -> tuple[Callable[[str], Tensor | None], Mapping[str, Any], ShardFile]:
        """How to read a tensor of one clip, what its shard says about it, and the shard."""
        number, place = divmod(range(len(self))[index], CLIPS_PER_SHARD)
        shard = self._shard(number)
        about = shard.clips[place] if place < len(shard.clips) else {}
        if (
            any(key not in about for key in (*TEXTS, *NUMBERS))
            or about["name"] != self._names[index]
        ):
            raise shard.torn(f"clip {place} is not {self._names[index]}")
        return lambda name: shard.tensor(place, name), about, shard

    def _shard(self, number: int) -> ShardFile:
        if number not in self._open:
            shard = self._shards[number]
            self._open[number] = ShardFile(self.index.root / shard.file, shard)
        self._open.move_to_end(number)
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)
        return self._open[number]


def load_packed(data: DataConfig, split: str, *, seed: int = 0) -> PackedClips:
    """The clips of one split of the packed folder ``data.root``.

    Raises:
        UserError: If it was packed from another data set, or for other frames than the configuration asks for.
    """
    if data.root is None:
        raise UserError("data.name is packed: say where its folder lies with --data.root FOLDER")
    index = PackedIndex.read(data.root)
    if data.name not in ("packed", index.source):
        raise UserError(
            f"{data.root}: holds {index.source} packed, not {data.name}: set data.name to {index.source}"
        )
    for key in ("image_size", "num_frames", "hop_seconds"):
        mine, asked = getattr(index, key), getattr(data, key)
        if mine != asked:
            raise UserError(
                f"{data.root}: was packed with {key} {mine}, but data.{key} is {asked}: set it to {mine}, or pack the "
                f"data again with --{key} {asked}"
            )
    released = index.source in ("s4", "ms3")
    clips = PackedClips(
        index, split, first_only=released and split == "train" and data.supervised == "first"
    )
    if released and split == "train" and data.supervised == "all" and len(clips):
        supervised = clips[0].supervised
        if supervised is None or not bool(supervised.all()):
            raise UserError(
                f"{data.root}: not every frame has a mask, but data.supervised is all: use auto"
            )
    return clips
