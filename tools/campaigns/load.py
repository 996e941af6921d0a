"""Eight visitors at once on a running `ecmvae app`.

Attack number i is one job: a visitor uploads one of sixteen videos, chooses style, threshold and smoothing, waits and
downloads. Visitors with odd numbers use the page's API, the others its queue, as browsers do. A job is lost if it
fails, or if its masks, its overlay or its summary differ from those of `ecmvae predict`'s own predictor for this video
and these choices. Eight jobs are always in progress: while one is examined, the next ones run.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from campaigns.base import Campaign, Trial
from campaigns.page import Page, file_data, tiny_model
from campaigns.processes import Command
from ecmvae.data.video import probe, read_clip, write_video
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import VideoResult

_VISITORS = 8
_VIDEOS = 16
_RATE = 16_000


@dataclass(frozen=True)
class _Job:
    lost: str
    detail: str
    seconds: float


class Load(Campaign):
    """As many jobs as last about five minutes."""

    runs = 600
    quick = 8

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.waits: list[float] = []
        self._jobs: dict[int, Future[_Job]] = {}
        self._wanted: dict[tuple[int, float], VideoResult] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Draw the videos, predict them, and start the page."""
        self.videos = [self._draw(number) for number in range(_VIDEOS)]
        self._predictor = VideoPredictor(tiny_model(self.work), "cpu")
        for number in range(_VIDEOS):
            for smoothing in (0.0, 0.25):
                options = PredictorOptions(threshold=0.5, smoothing=smoothing)
                stream = self._predictor.with_options(options).stream(probe(self.videos[number]))
                self._wanted[number, smoothing] = VideoResult.join(list(stream))
        Command(["--version"], self.work / "imports", self.work / "temporary").wait()
        limits = ["--visitor_megabytes", "2000", "--max_seconds", "10"]
        self.page = self._held.enter_context(Page(self.work, limits))
        self.megabytes = [self.page.megabytes()]
        self.visitors = self._held.enter_context(ThreadPoolExecutor(_VISITORS))
        self.began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of jobs that were begun ahead, and end the page."""
        for job in self._jobs.values():
            job.cancel()
        self._held.close()

    def trial(self, index: int) -> Trial:
        """Wait for one job."""
        for number in range(index, index + _VISITORS):
            if number not in self._jobs:
                self._jobs[number] = self.visitors.submit(self._job, number)
        job = self._jobs.pop(index).result()
        if index == 4 * _VISITORS:
            self.megabytes.append(self.page.megabytes())
        self.waits.append(job.seconds)
        lost = job.lost
        if not lost and "Traceback" in self.page.log():
            lost = f"traceback in the log: {self.page.log().strip().splitlines()[-1][:200]}"
        return Trial("API" if index % 2 else "queue", lost, job.detail)

    def figures(self) -> Mapping[str, float | int | str]:
        """Jobs, waits and the server's memory at start, after four rounds of jobs (if so many were made) and now."""
        seconds = time.monotonic() - self.began
        found: dict[str, float | int | str] = {
            "visitors": _VISITORS,
            "jobs": len(self.waits),
            "seconds": round(seconds),
            "median_wait_s": round(statistics.median(self.waits), 2),
            "wait_95_percent_s": round(float(np.quantile(self.waits, 0.95)), 2),
            "server_megabytes_at_start": round(self.megabytes[0]),
        }
        if len(self.megabytes) > 1:
            found["server_megabytes_after_32_jobs"] = round(self.megabytes[1])
        return {**found, "server_megabytes_at_end": round(self.page.megabytes())}

    def _draw(self, number: int) -> Path:
        """A video that no other one resembles: its colour, its length and what moves in it are its own."""
        rng = np.random.default_rng((self.seed, number))
        count = 16 + number
        frames = np.empty((count, 48, 64, 3), np.uint8)
        frames[:] = _colour(number)
        for moment in range(count):
            left = 2 * moment % 48
            frames[moment, 16:32, left : left + 16] = rng.integers(0, 255, 3)
        path = self.work / f"{number}.mp4"
        write_video(
            path, frames, 12, rng.normal(0, 0.1, (1, count * _RATE // 12)).astype(np.float32), _RATE
        )
        return path

    def _job(self, index: int) -> _Job:
        rng, visitor = self.rng(index), f"127.0.1.{1 + index % _VISITORS}"
        number = rng.randrange(_VIDEOS)
        style = rng.choice(["contour", "heatmap", "spotlight"])
        threshold, smoothing = rng.choice([0.3, 0.5, 0.7]), rng.choice([0.0, 0.25])
        detail = f"video {number}, {style}, threshold {threshold}, smoothing {smoothing}"
        began = time.monotonic()
        try:
            answer = self.page.upload(self.videos[number].read_bytes(), f"{number}.mp4", visitor)
            if answer.status != 200:
                return _Job(
                    f"upload: {answer.status} {answer.body[:100]!r}",
                    detail,
                    time.monotonic() - began,
                )
            video: object = file_data(json.loads(answer.body)[0])
            run = self.page.segment if index % 2 else self.page.browse
            event, data = run(video, (style, threshold, 1, smoothing, False), visitor)
            seconds = time.monotonic() - began
            if event != "complete":
                return _Job(f"{event}: {str(data)[:200]}", detail, seconds)
            wanted = self._wanted[number, smoothing].with_threshold(threshold)
            return _Job(self._wrong(data, number, wanted, visitor), detail, seconds)
        except (OSError, ValueError) as error:
            return _Job(f"{type(error).__name__}: {error}", detail, time.monotonic() - began)

    def _wrong(self, data: list[Any], number: int, wanted: VideoResult, visitor: str) -> str:
        """What is wrong with a job's answer; empty if nothing."""
        overlay, summary, _, *buttons = data
        paths = [_path(each) for each in [overlay, *buttons]]
        files = {Path(path).suffixes[-1]: path for path in paths[1:] if path}
        count = len(wanted.timestamps)
        if not summary.startswith(f"{count} frames"):
            return f"summary {summary!r} of a video of {count} frames"
        got = self.work / f"got-{visitor}"
        got.mkdir(exist_ok=True)
        for name, path in (("overlay.mp4", paths[0]), ("arrays.npz", files.get(".npz"))):
            answer = self.page.ask("GET", f"/gradio_api/file={path}", visitor=visitor)
            if answer.status != 200:
                return f"{name}: {answer.status}"
            (got / name).write_bytes(answer.body)
        with np.load(got / "arrays.npz") as arrays:
            masks, means = arrays["masks"], arrays["mean_probability"]
        if masks.shape != wanted.masks.shape:
            return f"masks of shape {masks.shape}, not {wanted.masks.shape}"
        if share := float((masks != wanted.masks).mean()):
            return f"{share:.2%} of the masks differ"
        if not np.allclose(means, [frame.probability.mean() for frame in wanted], atol=1e-5):
            return "mean probabilities differ"
        drawn = len(read_clip(got / "overlay.mp4").frames)
        return "" if drawn == count else f"an overlay of {drawn} frames, not {count}"


def _colour(number: int) -> tuple[int, int, int]:
    return 40 + 12 * number, 220 - 12 * number, 128


def _path(value: Any) -> str | None:
    """The file that an output of the page names."""
    if isinstance(value, dict):
        inner = value.get("video", value.get("value", value))
        return inner.get("path") if isinstance(inner, dict) else None
    return None
