"""`ecmvae app`: prediction in a browser, on this machine. The only door to Gradio.

The page needs no network and tells nobody anything: analytics, sharing and web fonts are off, and a content security
policy keeps the browser itself from asking anyone else. Uploads and results live in a temporary folder of our own:
results go when the same visitor starts another job or leaves, everything after an hour, the folder with the page.
"""

from __future__ import annotations

import html
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any, cast

from ecmvae.errors import UserError
from ecmvae.prediction.outputs import OutputKind
from ecmvae.prediction.render import Style
from ecmvae.serving.service import Cancelled, Limits, Visits, Wishes, Workshop

logger = logging.getLogger(__name__)

_STYLES = ("contour", "heatmap", "spotlight")
_DOWNLOADS: dict[OutputKind, str] = {
    "overlay": "Overlay video",
    "mask-video": "Mask video",
    "cutout": "Cut-out video",
    "coco": "COCO JSON",
    "npz": "NumPy arrays",
}
_KEPT_SECONDS = 3600  # how long uploads and results stay
_QUEUE = 20  # visitors who may wait
_CAMERA = {
    "video": {"width": {"ideal": 640}, "height": {"ideal": 480}},
    # Browsers suppress whatever is not speech unless told otherwise; here a dog shall be heard.
    "audio": {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False},
}
"""What a recording asks of the camera and the microphone. It is not mirrored: it lies beside its overlay."""
_LOOKS = Path(str(files("ecmvae"))) / "serving" / "app_page"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'"
)
"""What the page may load: only what comes from its own address."""


def build_page(workshop: Workshop, limits: Limits, visits: Visits, examples: Iterable[Path] = ()) -> Any:
    """The page as a `gradio.Blocks`; make it inside `own_folder`.

    Args:
        workshop: Does the jobs.
        limits: Shown, and the number of jobs at a time.
        visits: Folders and cancelling.
        examples: Videos to try.
    """
    import gradio as gr

    def segment(
        video: str | None,
        style: str,
        threshold: int | float,
        samples: int | float,
        smoothing: int | float,
        cutout: bool,
        request: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # this is how Gradio injects it
    ) -> tuple[Any, ...]:
        if video is None:
            raise gr.Error("Drop a video or record one first.", title="No video", print_exception=False)
        wishes = Wishes(
            style=cast(Style, style),
            threshold=float(threshold),
            samples=int(samples),
            smoothing=float(smoothing),
            kinds=tuple(kind for kind in _DOWNLOADS if cutout or kind != "cutout"),
        )
        try:
            with visits.job(request.session_hash or "") as (folder, stop):
                answer = workshop.run(
                    Path(video),
                    wishes,
                    folder=folder,
                    cancelled=stop,
                    progress=lambda share: progress(share, desc="Looking and listening"),
                )
        except UserError as error:
            line = html.escape(str(error).replace(f"{Path(video).parent}{os.sep}", ""))  # our folder says nothing
            raise gr.Error(line, title="This did not work", duration=30, print_exception=False) from error
        except Cancelled:
            raise gr.Error("Nothing was kept.", title="Cancelled", print_exception=False) from None
        buttons = [gr.DownloadButton(value=answer.files.get(kind), visible=kind in answer.files) for kind in _DOWNLOADS]
        return str(answer.files["overlay"]), answer.summary, answer.timeline, *buttons

    def cancel(request: Any) -> str:
        visits.cancel(request.session_hash or "")
        return "Cancelled."

    def leave(request: Any) -> None:
        visits.leave(request.session_hash or "")

    for function in (segment, cancel, leave):  # Gradio passes the request by its type, which has a name only here
        function.__annotations__ = {"request": gr.Request}

    with gr.Blocks(title="What sounds here?", analytics_enabled=False, delete_cache=(600, _KEPT_SECONDS)) as page:
        gr.Markdown(
            "# What sounds here?\nDrop a video, or record one: the objects that sound are marked. Nothing leaves "
            f"this machine. Up to {limits.seconds:g} seconds and {limits.megabytes} MB."
        )
        with gr.Row():
            camera = gr.WebcamOptions(mirror=False, constraints=_CAMERA)
            source = gr.Video(label="Your video", sources=["upload", "webcam"], webcam_options=camera, elem_id="source")
            result = gr.Video(label="What sounds in it", interactive=False, elem_id="result")
        clips = [[str(path)] for path in examples]
        if clips:
            gr.Examples(clips, inputs=[source], label="Or try one of these")
        with gr.Row(elem_id="choices"):
            style = gr.Radio(list(_STYLES), value="contour", label="Style", elem_id="style", scale=5, min_width=350)
            threshold = gr.Slider(0.05, 0.95, value=0.5, step=0.05, label="Threshold", elem_id="threshold", scale=3)
            samples = gr.Slider(1, 16, value=1, step=1, label="Samples", elem_id="samples", scale=3)
            smoothing = gr.Slider(0.0, 1.0, value=0.25, step=0.05, label="Smoothing", elem_id="smoothing", scale=3)
        cutout = gr.Checkbox(label="Also cut out what sounds (WebM with transparency; takes longer)", elem_id="cutout")
        with gr.Row():
            start = gr.Button("Find what sounds", variant="primary", elem_id="start", scale=3)
            stop = gr.Button("Cancel", elem_id="cancel", scale=1)
        summary = gr.Textbox(label="Result", interactive=False, elem_id="summary")
        timeline = gr.HTML(elem_id="timeline")
        with gr.Row(elem_id="downloads"):
            buttons = [
                gr.DownloadButton(f"\N{DOWNWARDS ARROW TO BAR} {label}", visible=False, size="sm", min_width=140)
                for label in _DOWNLOADS.values()
            ]
        started = start.click(
            segment,
            inputs=[source, style, threshold, samples, smoothing, cutout],
            outputs=[result, summary, timeline, *buttons],
            show_progress_on=[result],
            concurrency_limit=limits.jobs,
            api_name="segment",
        )
        # Ours stops a job that runs, Gradio's takes one out of the queue.
        stop.click(cancel, outputs=[summary], cancels=[started], queue=False, show_progress="hidden", api_name="cancel")
        page.unload(leave)
    return page


def launch(
    page: Any, limits: Limits, *, host: str = "127.0.0.1", port: int | None = None, password: str | None = None
) -> str:
    """Serve a page without any call to the outside.

    Args:
        page: From `build_page`.
        limits: For the size of uploads.
        host: Address to listen on.
        port: Port to listen on; None = the first free one from 7860 on.
        password: Asked for, with the user name "ecmvae"; None = not.

    Returns:
        The page's address, as soon as it answers.

    Raises:
        OSError: When the port is taken.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    _, address, _ = page.queue(max_size=_QUEUE).launch(
        server_name=host,
        server_port=port,
        auth=("ecmvae", password) if password else None,
        auth_message="The user name is ecmvae.",
        max_file_size=f"{limits.megabytes}mb",
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=[],
        app_kwargs={"middleware": [Middleware(_OnlyFromHere)]},
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css_paths=[_LOOKS / "page.css"],
        head=f"<script>{(_LOOKS / 'page.js').read_text(encoding='utf-8')}</script>",
        prevent_thread_lock=True,
        quiet=True,
    )
    return str(address)


def own_examples() -> list[Path]:
    """The clip to try: beside this file in an installed package, among the documents in a checkout."""
    package = Path(str(files("ecmvae")))
    places = (_LOOKS / "example.mp4", package.parent / "docs" / "assets" / "example.mp4")
    return [place for place in places if place.is_file()][:1]


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder that Gradio, too, puts its files into, and that is deleted at the end."""
    folder = tempfile.mkdtemp(prefix="ecmvae-app-")
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = folder  # Gradio has no other way to be told
    try:
        yield Path(folder)
    finally:
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


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

    Nothing leaves this machine, and only this machine reaches the page unless --host says otherwise.

    Examples:
        ecmvae app
        ecmvae app --host 0.0.0.0 --password WORD --max_seconds 30

    Args:
        checkpoint: Folder, run, name (see ecmvae models) or hf://owner/name; without it the packaged model, else the
            newest runs/demo.
        device: auto, cpu, cuda, cuda:1 or mps.
        host: Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 everyone in the network.
        port: Port to listen on.
        password: Ask visitors for it (user name: ecmvae).
        examples: Videos offered on the page: [a.mp4, b.mp4]; without it a clip of ours.
        max_megabytes: Largest upload.
        max_seconds: Longest video.
        jobs: Predictions at the same time; others wait.

    Raises:
        UserError: When Gradio is not installed, there is no model or example, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'ecmvae[app]'")
    if password == "":
        raise UserError("the password is empty: name one, or leave --password out")
    limits = Limits(megabytes=max_megabytes, seconds=max_seconds, jobs=jobs)
    for example in examples or []:
        if not example.is_file():
            raise UserError(f"there is no example video {example}")
    workshop = Workshop(checkpoint, device, limits)
    with own_folder() as folder:
        visits = Visits(folder)
        page = build_page(workshop, limits, visits, own_examples() if examples is None else examples)
        try:
            address = launch(page, limits, host=host, port=port, password=password)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port} ({error}): choose another --port") from error
        if host not in ("127.0.0.1", "localhost", "::1") and password is None:
            logger.warning("everyone who reaches %s may use this page: --password asks for one", host)
        print(f"{address} (Ctrl-C ends it)", flush=True)
        try:
            Event().wait()
        finally:
            visits.close()
            page.close(verbose=False)


class _OnlyFromHere:
    """Tells browsers, with every answer, to load nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_policy)
