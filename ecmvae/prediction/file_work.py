"""What a process does with one file of a run: predict it, write its outputs, note what became of it.

The local loop and Ray's actors call the same `FileWork`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ecmvae.data.video import OpenVideo, VideoInfo, show_path
from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, remove_leftovers
from ecmvae.manifest import Manifest, Row, source_name
from ecmvae.memory import release_free_memory
from ecmvae.prediction.options import WriterOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.saving import Summary, write_outputs

logger = logging.getLogger(__name__)

_MOST_NAMES = 3  # of what is heard where nothing is marked

NO_FIGURES: dict[str, Any] = dict.fromkeys(("frames", "seconds", "masked_frames", "area", "took"))
"""Fields of a row that a file without a prediction leaves empty."""


@dataclass(frozen=True)
class FileTask:
    """A video and where its outputs go."""

    path: Path
    targets: dict[str, Path]
    """Output format -> path."""
    replace: bool = False
    """Make outputs again that are there."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    status: Literal["done", "failed", "skipped"]
    """skipped: all its outputs were there."""
    line: str
    """For people: figures, or what is wrong."""
    row: Row | None = None
    """As it stands in the manifest, if there is one."""


class FileWork:
    """Predicts one file after the other with one model, which is loaded when the first file needs it.

    Args:
        load: Loads the model.
        look: Choices that concern several output formats.
        manifest: Gets a row for each file.
        progress: Show a progress bar.
    """

    def __init__(
        self,
        load: Callable[[], VideoPredictor],
        look: WriterOptions,
        *,
        manifest: Manifest | None = None,
        progress: bool = False,
    ) -> None:
        self._load, self._look, self._manifest, self._progress = load, look, manifest, progress

    @cached_property
    def predictor(self) -> VideoPredictor:
        """The model.

        Raises:
            UserError: If there is no such model.
        """
        return self._load()

    def __call__(self, task: FileTask) -> Outcome:
        """Make what is missing of a file's outputs; a mistake in the file is an outcome, too.

        Raises:
            UserError: If the model cannot be loaded.
        """
        started = time.monotonic()
        missing = {
            kind: path for kind, path in task.targets.items() if task.replace or not is_there(path)
        }
        if not missing:
            return self._noted(task, "skipped", f"{show_path(task.path)}: done before, skipped")
        predictor = self.predictor
        try:
            for target in missing.values():
                refuse_unwritable(target)
                remove_leftovers(target)
            summary = self._predict(predictor, task.path, missing)
        except UserError as error:
            return self._noted(
                task, "failed", str(error), took=_rounded(time.monotonic() - started)
            )
        finally:
            release_free_memory()  # else what one file needed stays with a process that goes through many
        took = time.monotonic() - started
        figures = {
            "frames": summary.frames,
            "seconds": _rounded(summary.seconds),
            "masked_frames": _rounded(summary.sounding),
            "area": _rounded(summary.area),
            "took": _rounded(took),
        }
        return self._noted(task, "done", _line(task.path, summary, took, missing), **figures)

    def _predict(self, predictor: VideoPredictor, path: Path, targets: dict[str, Path]) -> Summary:
        with OpenVideo(path) as video:
            return self._predict_open(predictor, video, targets)

    def _predict_open(
        self, predictor: VideoPredictor, video: OpenVideo, targets: dict[str, Path]
    ) -> Summary:
        info, track = video.info, predictor.options.audio_track
        path = info.path
        if track < len(info.audio_tracks) > 1:
            names = ", ".join(
                f"{number} {each.language}".strip() for number, each in enumerate(info.audio_tracks)
            )
            logger.warning(
                "%s has several audio tracks (%s): %d is heard, --audio_track N",
                show_path(path),
                names,
                track,
            )
        with _progress_bar(info, shown=self._progress) as on_frame:
            summary = write_outputs(
                predictor.stream(video), info, targets, options=self._look, on_frame=on_frame
            )
        if not summary.sounding:
            logger.warning(
                "%s: nothing reaches --threshold %g; the highest probability is %.3g, and --style heatmap shows them "
                "all",
                show_path(path),
                predictor.options.threshold,
                summary.highest,
            )
            if heard := predictor.heard(info)[:_MOST_NAMES]:
                logger.warning("%s: heard: %s", show_path(path), ", ".join(map(str, heard)))
        return summary

    def _noted(
        self,
        task: FileTask,
        status: Literal["done", "failed", "skipped"],
        line: str,
        **figures: Any,
    ) -> Outcome:
        if self._manifest is None:
            return Outcome(status, line)
        folder = Path(source_name(self._manifest.path)).parent
        outputs = (
            []
            if status == "failed"
            else [_below(folder, target) for target in task.targets.values()]
        )
        error = line if status == "failed" else ""
        row = self._manifest.append(
            task.path, status, error, outputs=outputs, **{**NO_FIGURES, **figures}
        )
        return Outcome(status, line, row)


def is_there(path: Path) -> bool:
    """Whether an output exists; an inaccessible one does not."""
    try:
        return path.exists()
    except OSError:  # a name too long for the file system, or a folder that may not be entered: said when it is written
        return False


def _below(folder: Path, target: Path) -> str:
    """An output as the manifest names it: relative to the manifest's folder where it lies below it."""
    name = source_name(target)
    return os.path.relpath(name, folder) if Path(name).is_relative_to(folder) else name


def _rounded(value: float) -> float:
    return round(value, 4)


def _line(path: Path, summary: Summary, took: float, targets: dict[str, Path]) -> str:
    names = ", ".join(show_path(target) for target in targets.values())
    count = "1 frame" if summary.frames == 1 else f"{summary.frames} frames"
    return (
        f"{show_path(path)}: {count}, {summary.seconds:.1f} s, masks on {summary.sounding:.0%} of the "
        f"frames covering {summary.area:.1%} of the picture, done in {took:.1f} s -> {names}"
    )


@contextmanager
def _progress_bar(info: VideoInfo, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal's error stream, with the time left where the file declares its duration."""
    if not shown or not sys.stderr.isatty():
        yield lambda seconds: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(show_path(Path(info.path.name)), total=info.duration)
        yield lambda seconds: bar.update(task, completed=seconds)
