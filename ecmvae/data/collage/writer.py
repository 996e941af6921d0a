"""Write AVS-Collage to disk in AVSBench's released layout, so that any reader of AVSBench can read it.

Added to that layout are ``object_masks`` (index maps of all objects, sounding or silent), ``clips.json`` (the items of
each clip), a contact sheet of every split, and ``manifest.json`` at the root. On one platform, the same seed, sources
and settings give the same bytes for any number of workers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ecmvae.audio.io import SAMPLE_RATE, write_wave
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.montage import save_montage
from ecmvae.data.collage.render import stream
from ecmvae.data.collage.scene import SPLITS
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.images import sounding_masks
from ecmvae.data.jobs import run_jobs
from ecmvae.data.layout import TASKS, ClipFiles, write_table
from ecmvae.errors import UserError
from ecmvae.files import write_json
from ecmvae.foreign_text import read_json

VIDEO_FPS = 24
"""Frame rate of the raw videos; the annotated frame of second k is video frame 24 k + 12."""

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class CollageSettings:
    """Settings that, with the sources, determine the bytes of a written AVS-Collage."""

    size: int = 224
    """Side of frames and masks in pixels."""
    splits: tuple[str, ...] = SPLITS
    kinds: tuple[str, ...] = ("s4", "ms3")
    clips_per_set: int = 200
    """Clips per split and kind, except train."""
    train_clips: int = 1000
    """Clips of the training split per kind."""
    seed: int = 0
    raw_video: bool = True
    """Write an mp4 (24 fps, sound) of every test clip."""

    def jobs(self) -> Iterator[tuple[str, str, int]]:
        """(kind, split, index) of every clip, in the order of the tables."""
        for kind in self.kinds:
            for split in self.splits:
                count = self.train_clips if split == "train" else self.clips_per_set
                yield from ((kind, split, index) for index in range(count))


def write_collage(
    root: str | Path,
    sources: CollageSources,
    settings: CollageSettings,
    *,
    workers: int = 2,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """Compose clips and write them to `root`, which appears once everything is written.

    If a call is interrupted, the next one with the same settings continues it.

    Args:
        root: Folder to create, with ``Single-source`` and ``Multi-sources`` in it.
        sources: Cut-outs, recordings and backgrounds.
        settings: What is written.
        workers: Number of processes; 1 is the current one.
        force: Replace an AVS-Collage that exists at `root`.
        progress: Show a progress bar.

    Returns:
        The root.

    Raises:
        UserError: If `root` is not empty, a setting is invalid or the sources have too few items.
    """
    root = Path(root)
    _check(settings, root, force)
    stage = _stage(root, settings, sources)
    jobs = list(settings.jobs())
    work = partial(_write_clip, stage, settings, (sources.root, sources.fold_number, sources.folds))
    records = list(run_jobs(work, jobs, workers, title="AVS-Collage: writing", progress=progress))
    for kind in settings.kinds:
        _write_tables(stage, kind, [record for record in records if record["kind"] == kind])
    shutil.rmtree(stage / _DONE)
    write_json(stage / MANIFEST, _manifest(stage, settings, sources))
    if root.exists():
        shutil.rmtree(root)
    stage.rename(root)
    return root


_DONE = ".done"


def _check(settings: CollageSettings, root: Path, force: bool) -> None:
    if unknown := [split for split in settings.splits if split not in SPLITS]:
        raise UserError(f"AVS-Collage has no split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    if unknown := [kind for kind in settings.kinds if kind not in TASKS]:
        raise UserError(f"AVS-Collage has no kind {unknown[0]!r}; there are s4 and ms3")
    if settings.size < 16 or settings.size % 2:
        raise UserError(
            f"a size of {settings.size} pixels is not possible: give an even number from 16 up"
        )
    if next(settings.jobs(), None) is None:
        raise UserError("there is nothing to write: name at least one split, one kind and one clip")
    if root.is_file():
        raise UserError(f"{root}: is a file; name a folder")
    if root.is_dir() and any(root.iterdir()):
        if not force:
            raise UserError(
                f"{root}: is not empty; name another folder, or give --force to replace an AVS-Collage"
            )
        if not (root / MANIFEST).is_file():
            raise UserError(
                f"{root}: is not an AVS-Collage (it has no {MANIFEST}), so --force does not replace it"
            )


def _stage(root: Path, settings: CollageSettings, sources: CollageSources) -> Path:
    """The working folder, with the clips that an interrupted run with the same settings has written."""
    stage = root.with_name(f".{root.name}.part")
    plan = {"settings": asdict(settings), "sources": _digest(sources), **_fold_of(sources)}
    plan_file = stage / _DONE / "plan.json"
    text = json.dumps(plan, sort_keys=True)
    if stage.exists() and not (
        plan_file.is_file() and plan_file.read_text(encoding="utf-8") == text
    ):
        shutil.rmtree(stage)
    plan_file.parent.mkdir(parents=True, exist_ok=True)
    plan_file.write_text(text, encoding="utf-8")
    return stage


def _write_clip(
    stage: Path, settings: CollageSettings, of: tuple[Path, int, int], job: tuple[str, str, int]
) -> dict[str, Any]:
    """Write all files of one clip unless they are there, and last its record, which marks it as complete.

    `of` are the arguments of its `CollageSources`.
    """
    record_file = stage / _DONE / "{}_{}_{}.json".format(*job)
    if record_file.is_file():
        record: dict[str, Any] = read_json(record_file)
        return record
    kind, split, index = job
    sources = _open_sources(*of)
    clips = CollageClips(
        sources, kind, split, index + 1, size=settings.size, seed=settings.seed, remix=False
    )
    frames, objects = clips.frames(index)
    scene, activity, waveform = clips.compose_sound(index)
    category = scene.objects[int(activity[0].argmax())].category if kind == "s4" else ""
    files = _files(stage, kind, clips.name(index), split, category)
    for path in (
        files.frame(1),
        files.mask(1),
        files.mask(1, "object_masks"),
        files.wav,
        files.raw_video,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
    masks = sounding_masks(objects, activity).astype(np.uint8) * 255
    for second in range(scene.seconds):
        _save(files.frame(second + 1), frames[second])
        _save(files.mask(second + 1), masks[second])
        _save(files.mask(second + 1, "object_masks"), objects[second])
    write_wave(files.wav, torch.from_numpy(waveform))
    if settings.raw_video and split.startswith("test"):
        write_moving_clip(files.raw_video, clips, index)
    record = {
        "kind": kind,
        "name": files.name,
        "split": split,
        "category": category,
        "objects": [thing.category for thing in scene.objects],
        "sounding": activity.tolist(),
        "images": [thing.image for thing in scene.objects],
        "sounds": [thing.sound for thing in scene.objects],
        "background": scene.background,
    }
    write_json(record_file, record)
    return record


def write_moving_clip(path: Path, clips: CollageClips, index: int) -> None:
    """Write clip `index` as an mp4 with its sound, `VIDEO_FPS` frames per second of `clips.size` pixels."""
    from ecmvae.data.video import write_video

    scene, _, waveform = clips.compose_sound(index)
    times = [number / VIDEO_FPS for number in range(VIDEO_FPS * scene.seconds)]
    moving = (frame for frame, _ in stream(scene, times, clips.size, clips.sources))
    write_video(path, moving, VIDEO_FPS, waveform, SAMPLE_RATE)


@lru_cache(maxsize=2)
def _open_sources(root: Path, fold: int, folds: int) -> CollageSources:
    return CollageSources(root, fold, folds)


def _save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, compress_level=4)


def _files(stage: Path, kind: str, name: str, split: str, category: str) -> ClipFiles:
    base = stage / TASKS[kind].folder / TASKS[kind].data
    return ClipFiles(base=base, task=kind, name=name, split=split, category=category)


def _write_tables(stage: Path, kind: str, records: Sequence[dict[str, Any]]) -> None:
    """The csv, ``clips.json`` and the contact sheets of one kind."""
    layout = TASKS[kind]
    folder = stage / layout.folder
    clips = [
        _files(stage, kind, record["name"], record["split"], record["category"])
        for record in records
    ]
    write_table(folder / layout.table, [layout.row(clip) for clip in clips])
    kept = ("objects", "sounding", "images", "sounds", "background")
    write_json(
        folder / "clips.json",
        {record["name"]: {key: record[key] for key in kept} for record in records},
    )
    for split in dict.fromkeys(clip.split for clip in clips):
        shown = [pair for pair in zip(clips, records, strict=True) if pair[0].split == split][
            :_MONTAGE_CLIPS
        ]
        save_montage(folder / f"montage_{split}.png", *zip(*shown, strict=True))


_MONTAGE_CLIPS = 10


def _manifest(stage: Path, settings: CollageSettings, sources: CollageSources) -> dict[str, Any]:
    counts = {
        kind: dict(Counter(s for k, s, _ in settings.jobs() if k == kind))
        for kind in settings.kinds
    }
    tables = [
        path for kind in settings.kinds for path in sorted((stage / TASKS[kind].folder).glob("*.*"))
    ]
    return {
        "data_set": "AVS-Collage",
        "note": "composed: still cut-outs on photos with recordings that are not synchronous",
        "settings": asdict(settings),
        **_fold_of(sources),
        "clips": counts,
        "versions": {
            name: version(name)
            for name in ("ecmvae", "numpy", "pillow", "torch", "soundfile", "av")
        },
        "sources_sha256": _digest(sources),
        "sources": {
            "packages": list(sources.packages),
            "items": {f"{item.kind}/{item.id}": item.sha256 for item in sources.items},
        },
        "files": {
            path.relative_to(stage).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in tables
        },
    }


def _fold_of(sources: CollageSources) -> dict[str, int]:
    """The fold whose items are held out; nothing for the class table's own split."""
    return {"fold": sources.fold_number, "folds": sources.folds} if sources.folds else {}


def _digest(sources: CollageSources) -> str:
    """A checksum of all items: of the originals and of the prepared files."""
    digest = hashlib.sha256()
    for item in sources.items:
        digest.update(f"{item.kind} {item.id} {item.category} {item.pool} {item.sha256}\n".encode())
        digest.update((sources.root / item.file).read_bytes())
    return digest.hexdigest()
