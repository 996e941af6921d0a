"""Write the files that `ecmvae.data.packed` reads: `ecmvae data pack`."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save
from torch import Tensor

from ecmvae.config import DataConfig
from ecmvae.data.avss import read_avss
from ecmvae.data.clips import ClipSource
from ecmvae.data.jobs import run_jobs
from ecmvae.data.layout import TASKS, read_clips
from ecmvae.data.loading import load_clips
from ecmvae.data.packed import (
    CLIPS_PER_SHARD,
    INDEX,
    NUMBERS,
    TEXTS,
    PackedIndex,
    holds_packed,
)
from ecmvae.data.packed_shards import Shard, ShardFile, checksum, encode, file_header
from ecmvae.data.sets.records import RECORDS, records_in
from ecmvae.data.sets.rows import read_rows
from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, remove_leftovers, replace_bytes, show_path, write_json
from ecmvae.foreign_text import cut
from ecmvae.locks import locked
from ecmvae.types import AVClip


@dataclass(frozen=True)
class ShardJob:
    """One shard to write: which clips of which split, to which file."""

    data: DataConfig
    split: str
    start: int
    names: tuple[str, ...]
    path: Path

    @property
    def settings(self) -> str:
        """What the shard was made from; one with other settings is packed again."""
        data = self.data
        return f"{data.name} {self.split} {self.start}: {data.image_size} px, {data.num_frames} x {data.hop_seconds} s"


@dataclass(frozen=True)
class Packed:
    """A shard that is there; `kept` where it was before, `error` where a clip of it cannot be read."""

    shard: Shard | None
    kept: bool = False
    error: str = ""


def pack_data(
    root: str,
    out: str,
    task: str,
    splits: Sequence[str] | None,
    image_size: int,
    num_frames: int | None,
    hop_seconds: float,
    workers: int,
    *,
    progress: bool = True,
) -> PackedIndex:
    """Pack a data set; see `ecmvae.data.command.pack`.

    Raises:
        UserError: If the data set cannot be packed or read, or `out` holds another one.
        OSError: If the disk is full.
    """
    name, folder = _task_of(root) if task == "auto" else task, Path(out)
    if num_frames is None:
        num_frames = 10 if name == "avss" else 5
    data = DataConfig(
        name=name,
        root=root,
        image_size=image_size,
        num_frames=num_frames,
        hop_seconds=hop_seconds,
        workers=0,
    )
    if holds_packed(root):
        raise UserError(f"{root}: is packed already")
    refuse_unwritable(folder / INDEX)
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not holds_packed(folder)
        and not (folder / "pack.lock").exists()
    ):
        raise UserError(f"{out}: holds other files: give a new folder for the packed clips")
    sources = {
        split: _fixed(load_clips(data, split), data) for split in splits or _splits_of(name, root)
    }
    with locked(folder, "pack.lock"):
        return _pack(folder, data, sources, workers, progress=progress)


def _pack(
    folder: Path, data: DataConfig, sources: dict[str, ClipSource], workers: int, *, progress: bool
) -> PackedIndex:
    names = {split: _names(clips) for split, clips in sources.items()}
    jobs = [
        ShardJob(
            data,
            split,
            start,
            listed[start : start + CLIPS_PER_SHARD],
            folder / _file(split, start),
        )
        for split, listed in names.items()
        for start in range(0, len(listed), CLIPS_PER_SHARD)
    ]
    (folder / INDEX).unlink(missing_ok=True)  # until all shards are there again
    done = list(run_jobs(_pack_shard, jobs, workers, title="packing", progress=progress))
    if errors := [each.error for each in done if each.error]:
        more = f" (and {len(errors) - 1} other shards)" if len(errors) > 1 else ""
        raise UserError(
            f"{errors[0]}{more}: mend it and run the same command again, what is packed is kept"
        )
    shards = {
        split: tuple(
            d.shard for d, j in zip(done, jobs, strict=True) if j.split == split and d.shard
        )
        for split in names
    }
    index = PackedIndex(
        root=folder,
        source=data.name,
        image_size=data.image_size,
        num_frames=data.num_frames,
        hop_seconds=data.hop_seconds,
        class_names=tuple(
            next(
                (each for clips in sources.values() if (each := getattr(clips, "class_names", ()))),
                (),
            )
        ),
        splits=shards,
        names=names,
        classes={split: _classes(clips) for split, clips in sources.items()},
    )
    write_json(folder / INDEX, index.to_dict())
    kept, size = (
        sum(each.kept for each in done),
        sum(shard.bytes for part in shards.values() for shard in part),
    )
    counts = ", ".join(f"{split} {len(listed)}" for split, listed in names.items())
    Console(quiet=not progress).print(
        f"{show_path(folder)}: {data.name}: {counts}; {len(done) - kept} shards packed, {kept} kept, "
        f"{size / 1e6:.0f} MB",
        soft_wrap=True,
        highlight=False,
    )
    return index


def _pack_shard(job: ShardJob) -> Packed:
    """Write one shard, unless it is there and whole."""
    remove_leftovers(job.path)
    if _is_whole(job):
        return Packed(_describe(job.path), kept=True)
    tensors: dict[str, Tensor] = {}
    about: list[dict[str, Any]] = []
    for place, name in enumerate(job.names):
        try:
            clip = _clips(job.data, job.split)[job.start + place]
            _check(clip, name, job.data)
        except UserError as error:
            return Packed(None, error=str(error))
        parts = encode(clip)
        tensors |= {f"{place}.{key}": part for key, part in parts.items()}
        about.append(
            {key: getattr(clip, key) for key in (*TEXTS, *NUMBERS)}
            | {"checksums": {key: checksum(part) for key, part in parts.items()}}
        )
    # One entry, for safetensors writes several in any order: packed again, a shard is the same to the bit.
    content = save(tensors, {"about": json.dumps({"settings": job.settings, "clips": about})})
    replace_bytes(job.path, content)
    return Packed(_describe(job.path))


def _is_whole(job: ShardJob) -> bool:
    """Whether the shard is there, of these clips and settings, and every checksum is right."""
    if not job.path.is_file():
        return False
    try:
        shard = ShardFile(job.path)
        if (
            shard.settings != job.settings
            or tuple(each.get("name") for each in shard.clips) != job.names
        ):
            return False
        shard.verify()
    except UserError:
        return False
    return True


def _describe(path: Path) -> Shard:
    return Shard(path.name, path.stat().st_size, zlib.crc32(file_header(path)))


@lru_cache(maxsize=4)
def _clips(data: DataConfig, split: str) -> ClipSource:
    """The data set below, loaded once by every worker."""
    return load_clips(data, split)


def _check(clip: AVClip, name: str, data: DataConfig) -> None:
    wanted = (data.num_frames, 3, data.image_size, data.image_size)
    if clip.frames.dtype != torch.uint8 or tuple(clip.frames.shape) != wanted:
        raise UserError(
            f"{clip.name}: frames are {tuple(clip.frames.shape)} {clip.frames.dtype}, not {wanted} uint8"
        )
    if clip.name != name:
        raise UserError(
            f"{clip.name}: the data set calls this clip {name} at another time; it cannot be packed"
        )


def _fixed(clips: ClipSource, data: DataConfig) -> ClipSource:
    """Refuse clips that are drawn again every epoch."""
    if hasattr(clips, "set_epoch"):
        raise UserError(
            f"{data.name} is composed afresh every epoch and cannot be packed: write it to disk first, as "
            "data_prep/collage.py does, and pack that"
        )
    return clips


def _task_of(root: str) -> str:
    found = records_in(root)
    if len(found) != 1:
        said = f"holds {' and '.join(found)}" if found else "holds no known table"
        raise UserError(f"{root}: {said}: say which one to pack with --task")
    return found[0]


def _splits_of(task: str, root: str) -> list[str]:
    """The splits that a table names; of other data sets train and val."""
    if task == "avss":
        return list(dict.fromkeys(clip.split for clip in read_avss(root)))
    if task in TASKS:
        return list(dict.fromkeys(clip.split for clip in read_clips(root, task)))
    if task in RECORDS and RECORDS[task].rows:
        return list(dict.fromkeys(row.split for row in read_rows(RECORDS[task], root)))
    return ["train", "val"]


def _file(split: str, start: int) -> str:
    if not split.isidentifier():
        raise UserError(f"split {cut(split)} cannot name a file")
    return f"{split}-{start // CLIPS_PER_SHARD:05d}.safetensors"


def _names(clips: ClipSource) -> tuple[str, ...]:
    name: Any = getattr(clips, "name", None)
    return tuple(name(i) if callable(name) else clips[i].name for i in range(len(clips)))


def _classes(clips: ClipSource) -> tuple[tuple[str, ...], ...]:
    classes: Any = getattr(clips, "classes", None)
    return tuple(tuple(classes(i)) if callable(classes) else () for i in range(len(clips)))
