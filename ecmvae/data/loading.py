"""The data sets by name: each loads one split as a configuration describes it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, cast

from ecmvae.config import DataConfig
from ecmvae.data import DATASETS
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.avss import AVSSDataset
from ecmvae.data.clips import ClipSource
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.scene import SECONDS
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.layout import TaskName
from ecmvae.data.packed import holds_packed, load_packed
from ecmvae.data.sets.records import RECORDS
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError


def load_clips(data: DataConfig, split: str, *, seed: int = 0) -> ClipSource:
    """The clips of one split of the data set that ``data.name`` names; the seed is that of composed data.

    Raises:
        UserError: If the data set is unknown, cannot be found or has no clips in this split.
    """
    packed = data.root is not None and data.name != "collage" and holds_packed(data.root)
    load = load_packed if packed else DATASETS.get(data.name)
    try:
        inspect.signature(load).bind(data, split, seed=seed)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"data.name={data.name} is not a data set: it lacks the form (data, split, *, seed)"
        ) from error
    clips: Any = load(data, split, seed=seed)
    if missing := [name for name in ("__len__", "__getitem__") if not hasattr(clips, name)]:
        raise UserError(
            f"data.name={data.name} gave a {type(clips).__name__}: it lacks {' and '.join(missing)}"
        )
    if len(clips) == 0:
        raise UserError(f"there are no {split} clips in {data.root or data.name}")
    return clips  # type: ignore[no-any-return]  # checked above


def require_root(data: DataConfig) -> None:
    """Raise a `UserError` if the data set is one that lies in a folder, and there is none: said before work begins."""
    lies_in_a_folder = data.name == "packed" or (data.name in RECORDS and data.name != "collage")
    if lies_in_a_folder and not Path(_root(data)).is_dir():
        raise UserError(
            f"{data.root}: no such folder; docs/data.md says how to obtain the data of data.name={data.name}, and "
            "--data.root FOLDER where it lies"
        )


def load_avsbench(data: DataConfig, split: str, *, seed: int = 0) -> ClipSource:
    """AVSBench's single-source (s4) or multi-source (ms3) subset, or AVS-Collage on disk in its layout."""
    return AVSBenchDataset(
        _root(data),
        cast(TaskName, data.name),
        split,
        image_size=data.image_size,
        num_frames=data.num_frames,
        hop_seconds=data.hop_seconds,
        supervised=data.supervised if split == "train" else "auto",
        mask_rule=data.mask_rule,
    )


def load_avss(data: DataConfig, split: str, *, seed: int = 0) -> ClipSource:
    """AVSBench-semantic."""
    return AVSSDataset(
        _root(data),
        split,
        image_size=data.image_size,
        num_frames=data.num_frames,
        hop_seconds=data.hop_seconds,
    )


def load_collage(data: DataConfig, split: str, *, seed: int = 0) -> ClipSource:
    """AVS-Collage, composed on the fly."""
    if data.num_frames != SECONDS:
        raise UserError(
            f"AVS-Collage composed on the fly has {SECONDS} frames a clip, not {data.num_frames}"
        )
    training = split == "train"
    return CollageClips(
        CollageSources.fetch(data.root).fold(data.fold, data.folds),
        kind=data.kind,
        split=split,
        length=data.length if training else data.val_length,
        size=data.image_size,
        seed=seed,
        remix=training,
        hop_seconds=data.hop_seconds,
        free_scenes=data.free_scenes,
        sound_augmentation=data.sound_augmentation,
        negatives=data.negatives if training else 0.0,
    )


def load_synthetic(data: DataConfig, split: str, *, seed: int = 0) -> ClipSource:
    """Moving shapes with timbres; every split has clips of its own."""
    training = split == "train"
    offset = {"train": 0, "val": 1}.get(split, 2)
    return SyntheticAVS(
        kind=data.kind,
        length=data.length if training else data.val_length,
        size=data.image_size,
        seed=seed + offset,
        num_frames=data.num_frames,
        hop_seconds=data.hop_seconds,
        remix=training,
    )


def _root(data: DataConfig) -> str:
    if data.root is None:
        raise UserError(
            f"data.name is {data.name}: say where its folder lies with --data.root FOLDER"
        )
    return data.root
