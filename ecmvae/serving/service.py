"""The jobs behind the page of `ecmvae app`: limits, folders, cancelling. Knows nothing of Gradio."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Event

from torch import nn

from ecmvae.data.video import probe
from ecmvae.errors import UserError
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.outputs import OutputKind, OverlayOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.render import Style
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.saving import ENDINGS, write_outputs
from ecmvae.serving.timeline import timeline_html

_LONGEST_NAME = 60  # of a download, without its ending


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one visitor may ask for."""

    megabytes: int = 200
    """Size of an upload."""
    seconds: float = 120.0
    """Length of a video."""
    jobs: int = 1
    """Predictions at the same time; others wait in the queue."""

    def __post_init__(self) -> None:
        """Refuse what lets nobody in.

        Raises:
            UserError: Naming the limit.
        """
        if self.megabytes < 1 or self.seconds <= 0 or self.jobs < 1:
            raise UserError(
                "limits must be above 0: "
                f"max_megabytes is {self.megabytes}, max_seconds {self.seconds:g}, jobs {self.jobs}"
            )


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a visitor has chosen."""

    style: Style = "contour"
    threshold: float = 0.5
    samples: int = 1
    smoothing: float = 0.25
    kinds: tuple[OutputKind, ...] = ("overlay", "mask-video", "coco", "npz")
    """Files to make; the overlay is what the page plays."""


class Cancelled(Exception):
    """The visitor has pressed Cancel, or left."""


@dataclass(frozen=True)
class Answer:
    """What a prediction shows on the page.

    Attributes:
        files: What can be downloaded, by kind; `files["overlay"]` is played.
        timeline: Loudness, masked area and uncertainty over time, as HTML.
        summary: One line.
    """

    files: dict[OutputKind, Path]
    timeline: str
    summary: str


class Visits:
    """Who waits for what: a visit has one job at a time and one folder, which goes when the next job comes."""

    def __init__(self, root: Path) -> None:
        """Begin without visitors.

        Args:
            root: Folders of jobs are made in it. Their names are ours: what a browser calls itself is no path.
        """
        self._root = root
        self._running: dict[str, Event] = {}
        self._finished: dict[str, Path] = {}

    @contextmanager
    def job(self, visit: str) -> Iterator[tuple[Path, Event]]:
        """A fresh folder, and the event that asks the job to stop; the folder stays only if the job ends well.

        Args:
            visit: The browser tab, by its own name for itself.

        Raises:
            Cancelled: At the end, when the visitor has left meanwhile.
        """
        self.leave(visit)
        folder, stop = Path(tempfile.mkdtemp(prefix="job-", dir=self._root)), Event()
        self._running[visit] = stop
        try:
            yield folder, stop
            if stop.is_set():
                raise Cancelled
            self._finished[visit] = folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if self._running.get(visit) is stop:
                del self._running[visit]

    def cancel(self, visit: str) -> None:
        """Ask the visit's job to stop, if there is one; it does so at its next frame and removes its folder."""
        stop = self._running.get(visit)
        if stop is not None:
            stop.set()

    def leave(self, visit: str) -> None:
        """Cancel, and delete what the visit's last job has made."""
        self.cancel(visit)
        folder = self._finished.pop(visit, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Ask all jobs to stop."""
        for stop in list(self._running.values()):
            stop.set()


class Workshop:
    """Runs predictions, a limited number at a time; remembers the last one, so that it can be drawn in another way."""

    def __init__(self, model: nn.Module | str | None, device: str, limits: Limits) -> None:
        """Load the model once.

        Args:
            model: As for `VideoPredictor`.
            device: Likewise.
            limits: Refuse what is larger.
        """
        self._predictor = VideoPredictor(model, device)
        self._limits = limits
        self._slots = BoundedSemaphore(limits.jobs)
        self._last: tuple[tuple[Path, int, float], VideoResult] | None = None

    def run(
        self, video: Path, wishes: Wishes, *, folder: Path, cancelled: Event, progress: Callable[[float], None]
    ) -> Answer:
        """Predict one video; only draw it anew where the last job had the same video, samples and smoothing.

        Args:
            video: The upload.
            wishes: What the visitor has chosen.
            folder: Where the files go.
            cancelled: Set from elsewhere to stop.
            progress: Called with the share that is done.

        Raises:
            UserError: When the video is too large or too long, or cannot be read.
            Cancelled: When `cancelled` was set.
        """
        self._check_limits(video)
        while not self._slots.acquire(timeout=0.1):  # a cancelled job may not have let go yet
            _stop_if(cancelled)
        try:
            return self._run(video, wishes, folder, cancelled, progress)
        finally:
            self._slots.release()

    def _run(
        self, video: Path, wishes: Wishes, folder: Path, cancelled: Event, progress: Callable[[float], None]
    ) -> Answer:
        progress(0.0)
        duration = probe(video).duration or self._limits.seconds
        windows: list[VideoResult] = []

        def noted(stream: Iterator[VideoResult]) -> Iterator[VideoResult]:
            for window in stream:
                _stop_if(cancelled)
                windows.append(window)
                yield window

        def on_frame(time: float) -> None:
            _stop_if(cancelled)
            if time > self._limits.seconds + 0.5:  # the declared duration was wrong, or there was none
                raise UserError(f"the video is longer than {self._limits.seconds:g} s: cut it first")
            progress(min(time / duration, 1.0))

        name = video.stem[:_LONGEST_NAME]
        files = {kind: folder / f"{name}{ENDINGS[kind]}" for kind in wishes.kinds}
        summary = write_outputs(
            noted(self._windows(video, wishes)),
            video,
            files,
            overlay=OverlayOptions(style=wishes.style),
            on_frame=on_frame,
        )
        result = VideoResult.join(windows)
        self._last = (video, wishes.samples, wishes.smoothing), result
        line = f"{summary.frames} frames; something sounds and is seen in {summary.sounding:.0%} of them"
        return Answer(files, timeline_html(result), line)

    def _windows(self, video: Path, wishes: Wishes) -> Iterator[VideoResult]:
        last = self._last  # read once: another job may replace it
        if last is not None and last[0] == (video, wishes.samples, wishes.smoothing):
            return iter([last[1].with_threshold(wishes.threshold)])
        options = PredictorOptions(threshold=wishes.threshold, samples=wishes.samples, smoothing=wishes.smoothing)
        return self._predictor.with_options(options).stream(video)

    def _check_limits(self, video: Path) -> None:
        megabytes = video.stat().st_size / 1e6
        if megabytes > self._limits.megabytes:
            raise UserError(f"the video has {megabytes:.0f} MB, more than {self._limits.megabytes}")
        duration = probe(video).duration
        if duration is not None and duration > self._limits.seconds + 0.5:
            raise UserError(f"the video has {duration:.0f} s, more than {self._limits.seconds:g} s: cut it first")


def _stop_if(cancelled: Event) -> None:
    if cancelled.is_set():
        raise Cancelled
