"""The jobs behind the page of `ecmvae app`: limits, folders, cancelling. Independent of Gradio."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import BoundedSemaphore, Event
from typing import Any

from ecmvae.data.video import VideoInfo, probe
from ecmvae.errors import UserError
from ecmvae.memory import release_free_memory
from ecmvae.prediction.engine import NamingEngine
from ecmvae.prediction.options import PredictorOptions, Style, WriterOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.saving import Summary, write_outputs
from ecmvae.prediction.writers import WRITERS
from ecmvae.serving.timeline import timeline_html

_LONGEST_NAME = 60  # of a download, without its ending
_MOST_NAMES = 5  # of what was heard, in the line about a result


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one job, and of all jobs together."""

    megabytes: int = 200
    """Size of an upload."""
    seconds: float = 120.0
    """Length of a video."""
    jobs: int = 1
    """Predictions at the same time; others wait in the queue."""
    visitor_megabytes: int = 1000
    """Size of all uploads of a visitor that are kept."""
    total_megabytes: int = 4000
    """Size of all uploads that are kept."""

    def __post_init__(self) -> None:
        """Raise a `UserError` if a limit is not above 0, or stored uploads have less room than one upload."""
        if self.megabytes < 1 or self.seconds <= 0 or self.jobs < 1:
            raise UserError(
                "limits must be above 0: "
                f"max_megabytes is {self.megabytes}, max_seconds {self.seconds:g}, jobs {self.jobs}"
            )
        if not self.megabytes <= self.visitor_megabytes <= self.total_megabytes:
            raise UserError(
                "max_megabytes must not exceed visitor_megabytes, nor that total_megabytes: "
                f"they are {self.megabytes}, {self.visitor_megabytes} and {self.total_megabytes}"
            )


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What a visitor has chosen."""

    style: Style = "contour"
    threshold: float = 0.5
    samples: int = 1
    smoothing: float = 0.25
    concepts: str = ""
    """Of a model without training: what to listen and look for; "" = what the page was started with."""
    writers: tuple[str, ...] = ("overlay", "mask_video", "coco", "npz")
    """Output formats; the page plays the overlay."""


class Cancelled(Exception):
    """The visitor has cancelled the job or left the page."""


@dataclass(frozen=True)
class Answer:
    """What the page shows of a prediction.

    Attributes:
        files: Downloads by output format; `files["overlay"]` is played.
        timeline: Loudness, masked area and uncertainty over time, as HTML.
        summary: One line.
    """

    files: dict[str, Path]
    timeline: str
    summary: str


class SessionStore:
    """Jobs and folders of the visitors: a session has one job at a time, and one folder, deleted by its next job."""

    def __init__(self, root: Path) -> None:
        """Make the jobs' folders below `root`; no path holds a session's id, because browsers choose it."""
        self._root = root
        self._running: dict[str, Event] = {}
        self._finished: dict[str, Path] = {}

    @contextmanager
    def job(self, session: str) -> Iterator[tuple[Path, Event]]:
        """A new folder, and the event that asks the job to stop; the folder is kept only if the job succeeds.

        Args:
            session: Id of the browser tab.

        Raises:
            Cancelled: At the end, if the visitor has left in the meantime.
        """
        self.leave(session)
        folder, stop = Path(tempfile.mkdtemp(prefix="job-", dir=self._root)), Event()
        self._running[session] = stop
        try:
            yield folder, stop
            if stop.is_set():
                raise Cancelled
            self._finished[session] = folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if self._running.get(session) is stop:
                del self._running[session]

    def cancel(self, session: str) -> None:
        """Ask the session's job, if there is one, to stop; it stops at its next frame and deletes its folder."""
        if stop := self._running.get(session):
            stop.set()

    def leave(self, session: str) -> None:
        """Cancel the running job and delete the files of the last one."""
        self.cancel(session)
        if folder := self._finished.pop(session, None):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Ask all jobs to stop."""
        for stop in list(self._running.values()):
            stop.set()


class PredictionService:
    """Runs predictions, a limited number at a time; keeps the last one, to draw it again in another style."""

    def __init__(
        self,
        model: Any,
        device: str,
        limits: Limits,
        *,
        trust_code: bool = False,
        concepts: str | None = None,
    ) -> None:
        """Load the model once, whatever `VideoPredictor` takes; jobs beyond the limits are refused.

        Nothing of what visitors bring is kept in the cache on disk.
        """
        options = PredictorOptions(concepts=concepts, cache=False)
        self._predictor = VideoPredictor(model, device, options, trust_code=trust_code)
        self._limits = limits
        self._slots = BoundedSemaphore(limits.jobs)
        self._last: tuple[tuple[Path, int, float, str], VideoResult] | None = None

    @property
    def takes_concepts(self) -> bool:
        """Whether visitors may say what to listen and look for."""
        return isinstance(self._predictor.engine, NamingEngine)

    def run(
        self,
        video: Path,
        options: JobOptions,
        *,
        folder: Path,
        cancelled: Event,
        progress: Callable[[float], None],
    ) -> Answer:
        """Predict one video; a video with the samples, smoothing and concepts of the last job is only drawn again.

        Args:
            video: The upload.
            options: What the visitor has chosen.
            folder: Where the files go.
            cancelled: Set by another thread to stop the job.
            progress: Called with the share that is done.

        Raises:
            UserError: If the video is too large, too long or unreadable.
            Cancelled: If `cancelled` was set.
        """
        info = self._checked(video)
        while not self._slots.acquire(timeout=0.1):  # a cancelled job may still be running
            _stop_if(cancelled)
        try:
            return self._run(info, options, folder, cancelled, progress)
        finally:
            release_free_memory()
            self._slots.release()

    def _run(
        self,
        info: VideoInfo,
        options: JobOptions,
        folder: Path,
        cancelled: Event,
        progress: Callable[[float], None],
    ) -> Answer:
        progress(0.0)
        duration = info.duration or self._limits.seconds
        windows: list[VideoResult] = []

        def noted(stream: Iterator[VideoResult]) -> Iterator[VideoResult]:
            for window in stream:
                _stop_if(cancelled)
                windows.append(window)
                yield window

        def on_frame(time: float) -> None:
            _stop_if(cancelled)
            # the declared duration was wrong, or there was none
            if time > self._limits.seconds + 0.5:
                raise UserError(
                    f"the video is longer than {self._limits.seconds:g} s: cut it first"
                )
            progress(min(time / duration, 1.0))

        stem = info.path.stem[:_LONGEST_NAME]
        files = {name: folder / f"{stem}{WRITERS.get(name).ending}" for name in options.writers}
        look = WriterOptions(style=options.style)
        summary = write_outputs(
            noted(self._windows(info, options)), info, files, options=look, on_frame=on_frame
        )
        result = VideoResult.join(windows)
        self._last = _key(info, options), result
        names = result.heard()
        if not (summary.sounding or names):
            names = tuple(str(each) for each in self._predictor.heard(info))
        return Answer(files, timeline_html(result), _line(summary, names, options.threshold))

    def _windows(self, info: VideoInfo, options: JobOptions) -> Iterator[VideoResult]:
        last = self._last  # read once: another job may replace it
        if last is not None and last[0] == _key(info, options):
            return iter([last[1].with_threshold(options.threshold)])
        words = options.concepts.strip()
        if words.endswith(".csv"):  # which would name a file of this machine
            raise UserError("write what to listen for in words, with commas between them")
        chosen = replace(
            self._predictor.options,
            threshold=options.threshold,
            samples=options.samples,
            smoothing=options.smoothing,
            concepts=words or self._predictor.options.concepts,
        )
        return self._predictor.with_options(chosen).stream(info)

    def _checked(self, video: Path) -> VideoInfo:
        """Probe a video that is within the limits."""
        try:
            megabytes = video.stat().st_size / 1e6
        except OSError as error:  # deleted by now, or an address that Gradio has let through
            raise UserError("the video is not here (any more): upload it again") from error
        if megabytes > self._limits.megabytes:
            raise UserError(f"the video has {megabytes:.0f} MB, more than {self._limits.megabytes}")
        info = probe(video)
        if info.duration is not None and info.duration > self._limits.seconds + 0.5:
            raise UserError(
                f"the video has {info.duration:.0f} s, more than {self._limits.seconds:g} s: cut it first"
            )
        return info


def _key(info: VideoInfo, options: JobOptions) -> tuple[Path, int, float, str]:
    """What a result depends on, besides the threshold."""
    return info.path, options.samples, options.smoothing, options.concepts.strip()


def _line(summary: Summary, heard: Sequence[str], threshold: float) -> str:
    """What became of a job, and what to try when nothing is marked."""
    line = (
        f"{summary.frames} frames; something sounds and is seen in {summary.sounding:.0%} of them"
    )
    if heard:
        line += f"; heard: {', '.join(heard[:_MOST_NAMES])}"
    if not summary.sounding:
        line += (
            f". Nothing reaches the threshold of {threshold:g}; the highest probability is {summary.highest:.3g}. "
            "Lower the threshold, or choose heatmap, which shows every probability."
        )
    return line


def _stop_if(cancelled: Event) -> None:
    if cancelled.is_set():
        raise Cancelled
