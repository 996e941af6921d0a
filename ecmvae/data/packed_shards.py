"""One file of packed clips: how clips become tensors of a shard, and a shard mapped into memory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import cut, parse_json, short
from ecmvae.types import AVClip

TENSORS = (
    "frames",
    "masks",
    "objects",
    "labels",
    "ignored",
    "waveform",
    "audio",
    "supervised",
    "valid",
    "sounding",
)

PCM = 32768.0
"""Full scale of 16-bit sound, as sound files are read."""


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
        if name in found and torch.equal(
            (small := found[name].to(torch.uint8)).to(found[name].dtype), found[name]
        ):
            found[name] = small
    masks = found.get("masks")
    if masks is not None and torch.equal((bits := masks > 0).to(masks.dtype), masks):
        found["masks"] = torch.from_numpy(np.packbits(bits.flatten(1).numpy(), axis=1))
    waveform = found.get("waveform")
    if waveform is not None:
        small = (waveform * PCM).round().clamp(-PCM, PCM - 1).to(torch.int16)
        found["waveform"] = small if torch.equal(small / PCM, waveform) else waveform
    # `valid` may be `supervised` itself
    return {name: each.contiguous().clone() for name, each in found.items()}


def odd_shape(fields: Mapping[str, Tensor | None], frames: int, size: int) -> str | None:
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


def decode_masks(packed: Tensor, frames: int, size: int) -> Tensor:
    """The masks (T, 1, S, S) that `encode` packed as bits; others as they are."""
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


class ShardFile:
    """One shard mapped into memory; a clip's tensors are compared with their checksums when they are first read.

    Raises:
        UserError: If it is missing, torn, or not what the index says.
    """

    def __init__(self, path: Path, shard: Shard | None = None) -> None:
        self.path, self._checked = path, set[str]()
        try:
            changed = shard is not None and (
                path.stat().st_size,
                zlib.crc32(file_header(path)),
            ) != (
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
        except (
            OSError,
            SafetensorError,
            TypeError,
            ValueError,
        ) as error:  # a UserError is a ValueError
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
                raise self.torn(
                    f"the checksum of {name} of clip {short(self.clips[place].get('name'))} is another"
                )
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
