"""`ecmvae app`: prediction in a browser, on this machine. The only door to Gradio.

The page needs no network and tells nobody anything: analytics, sharing and web fonts are off. Uploads and results live
in a temporary folder of our own and are deleted when the page closes, results also when the next job begins.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from ecmvae.data.video import probe
from ecmvae.errors import UserError
from ecmvae.inference.options import PredictorOptions
from ecmvae.inference.outputs import OutputKind, OverlayOptions
from ecmvae.inference.plot import plot_timeline
from ecmvae.inference.predictor import VideoPredictor
from ecmvae.inference.render import Style
from ecmvae.inference.result import VideoResult
from ecmvae.inference.saving import ENDINGS, write_outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = ("contour", "heatmap", "spotlight")
_DOWNLOADS: tuple[OutputKind, ...] = ("overlay", "mask-video", "coco", "npz")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one visitor may ask for."""

    megabytes: int = 200
    """Size of an upload."""
    seconds: float = 120.0
    """Length of a video."""
    jobs: int = 1
    """Predictions at the same time; others wait in the queue."""


class Cancelled(Exception):
    """The visitor has pressed Cancel."""


@dataclass(frozen=True)
class Answer:
    """What a prediction shows on the page.

    Attributes:
        overlay: Video to play.
        timeline: Loudness, masked area and uncertainty over time.
        downloads: All files, the overlay among them.
        summary: One line.
    """

    overlay: Path
    timeline: Figure
    downloads: list[Path]
    summary: str


class Workshop:
    """Runs predictions for the page; knows nothing of Gradio."""

    def __init__(self, model: nn.Module | str | None, device: str, limits: Limits, folder: Path) -> None:
        """Load the model once.

        Args:
            model: As for `VideoPredictor`.
            device: Likewise.
            limits: Refuse what is larger.
            folder: Results go into sub-folders of it.
        """
        self._predictor = VideoPredictor(model, device)
        self._limits = limits
        self._folder = folder

    def run(
        self,
        video: Path,
        *,
        style: Style,
        threshold: float,
        samples: int,
        smoothing: float,
        visitor: str,
        progress: Callable[[float], None],
        cancelled: Event,
    ) -> Answer:
        """Predict one video.

        Args:
            video: The upload.
            style: Of the overlay.
            threshold: Of the masks.
            samples: Latent samples.
            smoothing: Seconds.
            visitor: Name of the visitor's own folder; their last results are deleted.
            progress: Called with the share that is done.
            cancelled: Set from elsewhere to stop.

        Raises:
            UserError: When the video is too long or cannot be read.
            Cancelled: When `cancelled` was set; nothing is left behind.
        """
        self._check_length(video)
        folder = self._folder / visitor
        shutil.rmtree(folder, ignore_errors=True)
        options = PredictorOptions(threshold=threshold, samples=samples, smoothing=smoothing)
        predictor = self._predictor.with_options(options)
        windows: list[VideoResult] = []
        duration = probe(video).duration or self._limits.seconds

        def on_frame(time: float) -> None:
            if cancelled.is_set():
                raise Cancelled
            if time > self._limits.seconds:  # the declared duration was wrong
                raise UserError(f"the video is longer than {self._limits.seconds:g} s: cut it first")
            progress(min(time / duration, 1.0))

        targets = {kind: folder / f"result{ENDINGS[kind]}" for kind in _DOWNLOADS}
        summary = write_outputs(
            _noting(predictor.stream(video), windows),
            video,
            targets,
            overlay=OverlayOptions(style=style),
            on_frame=on_frame,
        )
        line = f"{summary.frames} frames; something sounds and is seen in {summary.sounding:.0%} of them"
        return Answer(targets["overlay"], plot_timeline(VideoResult.join(windows)), list(targets.values()), line)

    def _check_length(self, video: Path) -> None:
        duration = probe(video).duration
        if duration is not None and duration > self._limits.seconds + 0.5:
            raise UserError(f"the video has {duration:.0f} s, more than {self._limits.seconds:g} s: cut it first")
        megabytes = video.stat().st_size / 1e6
        if megabytes > self._limits.megabytes:
            raise UserError(f"the video has {megabytes:.0f} MB, more than {self._limits.megabytes}")


def build_page(workshop: Workshop, limits: Limits, examples: Iterable[Path] = ()) -> Any:
    """The page as a `gradio.Blocks`."""
    import gradio as gr

    jobs: dict[str, Event] = {}

    def segment(
        video: str | None,
        style: str,
        threshold: int | float,
        samples: int | float,
        smoothing: int | float,
        request: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # this is how Gradio injects it
    ) -> tuple[str, Figure, list[str], str]:
        if video is None:
            raise gr.Error("Drop a video or record one first.")
        visitor = request.session_hash or "visitor"
        stop = jobs[visitor] = Event()
        try:
            answer = workshop.run(
                Path(video),
                style=cast(Style, style),
                threshold=float(threshold),
                samples=int(samples),
                smoothing=float(smoothing),
                visitor=visitor,
                progress=progress,
                cancelled=stop,
            )
        except UserError as error:
            raise gr.Error(str(error)) from error
        except Cancelled:
            raise gr.Error("Cancelled.", title="Stopped") from None
        finally:
            jobs.pop(visitor, None)
        return str(answer.overlay), answer.timeline, [str(path) for path in answer.downloads], answer.summary

    def cancel(request: Any) -> None:
        stop = jobs.get(request.session_hash or "visitor")
        if stop is not None:
            stop.set()

    for function in (segment, cancel):  # Gradio passes the request by its type, which has no name outside this function
        function.__annotations__ = {"request": gr.Request}

    with gr.Blocks(title="ecmvae", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# What sounds here?\nDrop a video: the objects that sound are marked. Nothing leaves this machine."
        )
        with gr.Row():
            source = gr.Video(label=f"Video with sound, up to {limits.seconds:g} s", sources=["upload", "webcam"])
            result = gr.Video(label="What sounds", interactive=False)
        with gr.Row():
            style = gr.Radio(list(_STYLES), value="contour", label="Style")
            threshold = gr.Slider(0.05, 0.95, value=0.5, step=0.05, label="Threshold")
            samples = gr.Slider(1, 16, value=1, step=1, label="Latent samples")
            smoothing = gr.Slider(0.0, 1.0, value=0.25, step=0.05, label="Smoothing in seconds")
        with gr.Row():
            start = gr.Button("Find what sounds", variant="primary", elem_id="start")
            stop = gr.Button("Cancel", elem_id="cancel")
        summary = gr.Textbox(label="Result", interactive=False, elem_id="summary")
        timeline = gr.Plot(label="Loudness, masked area and uncertainty over time")
        files = gr.Files(label="Downloads", interactive=False)
        clips = [[str(path)] for path in examples]
        if clips:
            gr.Examples(clips, inputs=[source])
        start.click(
            segment,
            inputs=[source, style, threshold, samples, smoothing],
            outputs=[result, timeline, files, summary],
            concurrency_limit=limits.jobs,
            api_name="segment",
        )
        stop.click(cancel, queue=False, api_name="cancel")
    return page


def app(
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str | None = None,
    examples: list[Path] | None = None,
    max_megabytes: int = 200,
    max_seconds: float = 120.0,
    jobs: int = 1,
) -> None:
    """Open a page where a video is dropped or recorded, and what sounds in it is marked.

    Args:
        checkpoint: Model folder or run; without it the packaged model, else the newest runs/demo.
        device: auto, cpu, cuda, cuda:1 or mps.
        host: Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 everyone in the network.
        port: Port to listen on.
        password: Ask visitors for it (user name: ecmvae).
        examples: Videos offered on the page.
        max_megabytes: Largest upload.
        max_seconds: Longest video.
        jobs: Predictions at the same time; others wait.

    Raises:
        UserError: When Gradio is not installed, there is no model, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'ecmvae[app]'")
    limits = Limits(megabytes=max_megabytes, seconds=max_seconds, jobs=jobs)
    with tempfile.TemporaryDirectory(prefix="ecmvae-app-") as folder:
        page = build_page(Workshop(checkpoint, device, limits, Path(folder)), limits, examples or [])
        try:
            launch(page, limits, folder, host=host, port=port, password=password)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port} ({error}): choose another --port") from error


def launch(
    page: Any,
    limits: Limits,
    folder: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    block: bool = True,
) -> str:
    """Serve a page without any call to the outside; returns its address, at once unless `block`."""
    import gradio as gr

    _, address, _ = page.queue(max_size=20).launch(
        server_name=host,
        server_port=port,
        auth=("ecmvae", password) if password else None,
        allowed_paths=[folder],
        max_file_size=f"{limits.megabytes}mb",
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=[],
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        prevent_thread_lock=not block,
        quiet=not block,
    )
    return str(address)


def _noting(windows: Iterator[VideoResult], noted: list[VideoResult]) -> Iterator[VideoResult]:
    for window in windows:
        noted.append(window)
        yield window
