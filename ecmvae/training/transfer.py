"""What travels from the data workers to the device, and what is done there: numbers as bytes, pictures as read.

A batch of four clips of five frames at 224 pixels is 4.0 MB of bytes rather than 16 MB of float32. Normalising and
mirroring are done on the device. Whether a clip is mirrored was decided by the seed, the epoch and its index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.types import AVBatch, AVClip

_BYTES = {"masks": torch.float32, "objects": torch.int64, "labels": torch.int64}
"""Maps that travel as bytes where their numbers allow it, and what they are for the model."""
_MIRRORED = ("frames", "masks", "objects", "labels", "ignored")


def collate_small(clips: Sequence[AVClip]) -> AVBatch:
    """`AVBatch.collate` with maps of whole numbers from 0 to 255 as uint8."""
    batch = AVBatch.collate(clips)
    maps: dict[str, Any] = {
        name: each for name in _BYTES if (each := getattr(batch, name)) is not None
    }
    small: dict[str, Any] = {name: _as_bytes(each) for name, each in maps.items()}
    return replace(batch, **small)


def finish(batch: AVBatch, preprocessor: ClipPreprocessor) -> AVBatch:
    """A batch of `collate_small` as a model takes it: mirrored, normalised, its maps of the usual types.

    Nothing here waits for the device.
    """
    maps = {name: each for name in _MIRRORED if (each := getattr(batch, name)) is not None}
    if batch.mirrored is not None:
        maps = {name: _where(batch.mirrored, each.flip(-1), each) for name, each in maps.items()}
    wide: dict[str, Any] = {
        name: each.to(_BYTES.get(name, each.dtype)) for name, each in maps.items()
    }
    frames = preprocessor.pictures(maps["frames"], batch.valid)
    features = None if batch.features is None else tuple(each.float() for each in batch.features)
    return replace(batch, mirrored=None, features=features, **{**wide, "frames": frames})


def _as_bytes(maps: Tensor) -> Tensor:
    small = maps.to(torch.uint8)
    return small if torch.equal(small.to(maps.dtype), maps) else maps


def _where(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` of the chosen clips (B,), `no` of the others."""
    return torch.where(chosen.reshape(-1, *[1] * (no.ndim - 1)), yes, no)
