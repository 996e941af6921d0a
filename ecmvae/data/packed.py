"""Clips packed into a few large files, as `ecmvae data pack` writes them: read by mapping the files into memory.

A folder holds ``packed.json`` and shards of 128 clips, each a safetensors file. A training run asks for clips in an
order of its own, in any of many processes: memory maps give each clip at once and share one copy in the page cache,
where tar shards would have to be read in a row. Nothing is compressed but masks, which are kept as bits, and nothing is
resized or decoded when a clip is read.

Every number is kept in the smallest type that gives it back exactly, so a packed clip equals the one that was packed.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.config import DataConfig
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import LARGE, cut, parse_json, read_json, short
from ecmvae.types import AVClip

INDEX = "packed.json"
FORMAT, VERSION = "ecmvae packed clips", 1
CLIPS_PER_SHARD = 128
TENSORS = ("frames", "masks", "objects", "labels", "ignored", "waveform", "audio", "supervised", "valid", "sounding")
TEXTS = ("name", "audio_kind", "category", "picture", "recording")
NUMBERS = ("sample_rate", "hop_seconds", "start_seconds")

_OPEN_SHARDS = 128
_PCM = 32768.0  # int16 full scale, as sound files are read


def holds_packed(root: str | Path) -> bool:
    """Whether `root` is a folder of packed clips, finished or not."""
    return (Path(root) / INDEX).is_file() or any(Path(root).glob("*-[0-9][0-9][0-9][0-9][0-9].safetensors"))


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)


def file_header(path: Path) -> bytes:
    """The bytes of a safetensors file that say what lies where, at most 100 MB of them."""
    with path.open("rb") as file:
        size = file.read(8)
        return size + file.read(min(int.from_bytes(size, "little"), 100_000_000))


def encode(clip: AVClip) -> dict[str, Tensor]:
    """The tensors of one clip as they are packed."""
    found = {name: each for name in TENSORS if (each := getattr(clip, name)) is not None}
    for name in ("objects", "labels"):
        if name in found and torch.equal((small := found[name].to(torch.uint8)).to(found[name].dtype), found[name]):
            found[name] = small
    masks = found.get("masks")
    if masks is not None and torch.equal((bits := masks > 0).to(masks.dtype), masks):
        found["masks"] = torch.from_numpy(np.packbits(bits.flatten(1).numpy(), axis=1))
    waveform = found.get("waveform")
    if waveform is not None:
        small = (waveform * _PCM).round().clamp(-_PCM, _PCM - 1).to(torch.int16)
        found["waveform"] = small if torch.equal(small / _PCM, waveform) else waveform
    return {name: each.contiguous().clone() for name, each in found.items()}  # `valid` may be `supervised` itself


def _odd_shape(fields: Mapping[str, Tensor | None], frames: int, size: int) -> str | None:
    """What of the tensors of a clip is not of T frames of S pixels; None where nothing is."""
    wanted: dict[str, list[tuple[int, ...]]] = {
        "frames": [(frames, 3, size, size)],
        "masks": [(frames, -(-size * size // 8)), (frames, 1, size, size)],
        **{name: [(frames, size, size)] for name in ("objects", "labels", "ignored")},
        "supervised": [(frames,)],
        "valid": [(frames,)],
    }
    found = fields["frames"]
    if found is None or found.dtype != torch.uint8:
        return "a clip has no frames"
    for name, shapes in wanted.items():
        if (value := fields[name]) is not None and tuple(value.shape) not in shapes:
            return f"{name} has shape {tuple(value.shape)}, not {shapes[0]}"
    return None


def _decode_masks(packed: Tensor, frames: int, size: int) -> Tensor:
    if packed.dtype != torch.uint8:
        return packed
    bits = np.unpackbits(packed.numpy(), axis=1, count=size * size)
    return torch.from_numpy(bits).reshape(frames, 1, size, size).float()


@dataclass(frozen=True)
class Shard:
    """One file of a split, as the index describes it: its name, bytes, and the CRC-32 of its header."""

    file: str
    bytes: int
    header: int


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
            raise UserError(f"{root}: packing was not finished: run the same ecmvae data pack again, it goes on")
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
            raise UserError(f"{path}: is damaged ({type(error).__name__}: {error}): pack the data again") from error
        for split, shards in index.splits.items():
            wanted = -(-len(index.names[split]) // CLIPS_PER_SHARD)
            plain = all(Path(each.file).name == each.file for each in shards)
            if len(shards) != wanted or len(index.classes[split]) != len(index.names[split]) or not plain:
                raise UserError(f"{path}: is damaged (its {split} clips do not fit its shards): pack the data again")
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
                    Shard(str(each["file"]), int(each["bytes"]), int(each["header"])) for each in part["shards"]
                )
                for split, part in found["splits"].items()
            },
            names={split: tuple(map(str, part["names"])) for split, part in found["splits"].items()},
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


class ShardFile:
    """One shard mapped into memory; a clip's tensors are compared with their checksums when they are first read.

    Raises:
        UserError: If it is missing, torn, or not what the index says.
    """

    def __init__(self, path: Path, shard: Shard | None = None) -> None:
        self.path, self._checked = path, set[str]()
        try:
            changed = shard is not None and (path.stat().st_size, zlib.crc32(file_header(path))) != (
                shard.bytes,
                shard.header,
            )
            if changed:
                raise OSError("its size or its header is not that of the index")
            self._file = _mapped(path)
            about = dict(parse_json((self._file.metadata() or {}).get("about", ""), str(path)))
            self.settings = str(about.get("settings", ""))
            self.clips: list[dict[str, Any]] = [dict(each) for each in about.get("clips", [])]
            self._keys = set(self._file.keys())
        except FileNotFoundError:
            raise self.torn("it is missing") from None
        except (OSError, SafetensorError, TypeError, ValueError) as error:  # a UserError is a ValueError
            raise self.torn(cut(" ".join(str(error).split()))) from error

    def torn(self, why: str) -> UserError:
        """The error that names this shard and the remedy."""
        return UserError(
            f"{show_path(self.path)}: damaged shard ({why}): run the same ecmvae data pack again, "
            "which packs this shard again"
        )

    def tensor(self, place: int, name: str) -> Tensor | None:
        """A tensor of the clip at `place`, as `encode` gave it; None where the clip has none of this name."""
        key = f"{place}.{name}"
        if key not in self._keys:
            return None
        value: Tensor = self._file.get_tensor(key)
        if key not in self._checked:
            sums = self.clips[place].get("checksums") if place < len(self.clips) else None
            if not isinstance(sums, dict) or sums.get(name) != checksum(value):
                raise self.torn(f"the checksum of {name} of clip {short(self.clips[place].get('name'))} is another")
            self._checked.add(key)
        return value.clone()  # writing into it must not change what the next reader gets

    def verify(self) -> None:
        """Compare every tensor with its checksum.

        Raises:
            UserError: At the first that differs or is missing.
        """
        for place, about in enumerate(self.clips):
            for name in about.get("checksums", {}):
                if self.tensor(place, name) is None:
                    raise self.torn(f"{name} of clip {short(about.get('name'))} is missing")


def _mapped(path: Path) -> Any:
    """A safetensors file whose tensors are views of its memory map."""
    return safe_open(path, "pt")


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
            raise UserError(f"{index.root}: split {short(split)} is not packed, only {', '.join(index.splits)}")
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
        fields: dict[str, Any] = {name: read(name) for name in TENSORS if name not in ("waveform", "audio")}
        if (odd := _odd_shape(fields, frames, size)) is not None:
            raise shard.torn(odd)
        for name in ("objects", "labels"):
            fields[name] = None if fields[name] is None else fields[name].long()
        if fields["masks"] is not None:
            fields["masks"] = _decode_masks(fields["masks"], frames, size)
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
            waveform = waveform / _PCM
        numbers = {name: float(about[name]) for name in NUMBERS} | {"sample_rate": int(about["sample_rate"])}
        return {"waveform": waveform, "audio": read("audio"), "audio_kind": str(about["audio_kind"]), **numbers}

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

    def _clip(self, index: int) -> tuple[Callable[[str], Tensor | None], Mapping[str, Any], ShardFile]:
        """How to read a tensor of one clip, what its shard says about it, and the shard."""
        number, place = divmod(range(len(self))[index], CLIPS_PER_SHARD)
        shard = self._shard(number)
        about = shard.clips[place] if place < len(shard.clips) else {}
        if any(key not in about for key in (*TEXTS, *NUMBERS)) or about["name"] != self._names[index]:
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
        raise UserError(f"{data.root}: holds {index.source} packed, not {data.name}: set data.name to {index.source}")
    for key in ("image_size", "num_frames", "hop_seconds"):
        mine, asked = getattr(index, key), getattr(data, key)
        if mine != asked:
            raise UserError(
                f"{data.root}: was packed with {key} {mine}, but data.{key} is {asked}: set it to {mine}, or pack the "
                f"data again with --{key} {asked}"
            )
    released = index.source in ("s4", "ms3")
    clips = PackedClips(index, split, first_only=released and split == "train" and data.supervised == "first")
    if released and split == "train" and data.supervised == "all" and len(clips):
        supervised = clips[0].supervised
        if supervised is None or not bool(supervised.all()):
            raise UserError(f"{data.root}: not every frame has a mask, but data.supervised is all: use auto")
    return clips
