"""Videos in, overlays and masks out: the work of `ecmvae predict`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ecmvae.data.video import VideoInfo, probe, show_path
from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, remove_leftovers
from ecmvae.prediction.options import WriterOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.saving import write_outputs
from ecmvae.prediction.sources import Source, resolve_sources
from ecmvae.prediction.writers import WRITERS, writer_for

logger = logging.getLogger(__name__)


def predict_videos(
    sources: Sequence[str],
    formats: Sequence[str],
    load: Callable[[], VideoPredictor],
    look: WriterOptions,
    *,
    out: Path,
    force: bool,
    progress: bool,
) -> int:
    """Predict every source and write it in the given output formats; see `ecmvae.prediction.command.predict`.

    The model is loaded by `load` once it is clear that there is something to do.

    Returns:
        0, or 2 when a video of several failed.

    Raises:
        UserError: When nothing can be done, or the only source fails.
    """
    endings = {name: WRITERS.get(name).ending for name in (*WRITERS, *formats)}
    chosen = [name for name in endings if name in formats]
    videos = resolve_sources(sources, leave_out=endings.values())
    plans = [(video, _targets(video, out, chosen, endings, single=len(videos) == 1)) for video in videos]
    if not any(targets for _, targets in plans):
        raise UserError("no output is wanted: leave --overlay on, or ask for masks, cutout, mask_video, coco or npz")
    _refuse_overwriting(plans, force=force)
    refuse_unwritable(next(iter(plans[0][1].values())) if len(plans) == 1 else out / "any name")
    predictor = load()
    failed = 0
    for number, (video, targets) in enumerate(plans, start=1):
        open_targets = {kind: path for kind, path in targets.items() if force or not _is_there(path)}
        position = f"[{number}/{len(plans)}] " if len(plans) > 1 else ""
        if not open_targets:
            print(f"{position}{show_path(video.path)}: done before, skipped")
            continue
        try:
            for target in open_targets.values():
                refuse_unwritable(target)
                remove_leftovers(target)
            print(position + _one(predictor, video.path, open_targets, look, progress=progress))
        except UserError as error:
            if len(plans) == 1:
                raise
            failed += 1
            logger.error("%s%s", position, error)
    if failed:
        logger.error("%d of %d videos failed", failed, len(plans))
    return 2 if failed else 0


def _one(
    predictor: VideoPredictor, path: Path, targets: dict[str, Path], look: WriterOptions, *, progress: bool
) -> str:
    """Predict one video; returns its summary line."""
    started = time.monotonic()
    info, track = probe(path), predictor.options.audio_track
    if track < len(info.audio_tracks) > 1:
        names = ", ".join(f"{number} {each.language}".strip() for number, each in enumerate(info.audio_tracks))
        logger.warning("%s has several audio tracks (%s): %d is heard, --audio_track N", show_path(path), names, track)
    with _progress(info, shown=progress) as on_frame:
        summary = write_outputs(predictor.stream(info), info, targets, options=look, on_frame=on_frame)
    took = time.monotonic() - started
    if not summary.sounding:
        logger.warning(
            "%s: nothing reaches --threshold %g; the highest probability is %.3g, and --style heatmap shows them all",
            show_path(path),
            predictor.options.threshold,
            summary.highest,
        )
    names = ", ".join(show_path(target) for target in targets.values())
    count = "1 frame" if summary.frames == 1 else f"{summary.frames} frames"
    return (
        f"{show_path(path)}: {count}, {summary.seconds:.1f} s, masks on {summary.sounding:.0%} of the "
        f"frames covering {summary.area:.1%} of the picture, done in {took:.1f} s -> {names}"
    )


def _targets(video: Source, out: Path, chosen: list[str], endings: dict[str, str], *, single: bool) -> dict[str, Path]:
    """Where each output of a video goes."""
    if single and out.suffix and not out.is_dir():
        named = writer_for(out, chosen)
        beside = {name: out.with_name(out.stem + endings[name]) for name in chosen if name not in (named, "overlay")}
        return {named: out, **beside}
    if out.exists() and not out.is_dir():
        raise UserError(f"{show_path(out)} is a file: several outputs need a folder")
    return {name: out / video.label.with_name(video.label.name + endings[name]) for name in chosen}


def _refuse_overwriting(plans: list[tuple[Source, dict[str, Path]]], *, force: bool) -> None:
    """Protect a single source's outputs and all sources; several sources skip what is done.

    Raises:
        UserError: When something would be lost.
    """
    for video, targets in plans:
        for target in targets.values():
            if _is_there(target) and _is_there(video.path) and target.samefile(video.path):
                raise UserError(f"{show_path(target)} is the source itself: choose another --out")
    existing = [target for _, targets in plans for target in targets.values() if _is_there(target)]
    if len(plans) == 1 and existing and not force:
        raise UserError(f"{show_path(existing[0])} exists: choose another --out, or replace it with --force")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system, or a folder that may not be entered: said when it is written
        return False


@contextmanager
def _progress(info: VideoInfo, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal's error stream, with the time left where the file declares its duration."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(show_path(Path(info.path.name)), total=info.duration)
        yield lambda seconds: bar.update(task, completed=seconds)
