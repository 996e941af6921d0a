"""`ecmvae app`: prediction in a browser, on this machine. The only door to Gradio.

The page needs no network: analytics, sharing and web fonts are off, and a content security policy keeps the browser
from loading anything from elsewhere. Uploads and results are kept in one temporary folder. Results are deleted when
their visitor starts another job or leaves, unused uploads after 15 minutes, everything after an hour, and the folder
when the page closes.
"""

from __future__ import annotations

import asyncio
import html
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, cast, get_args

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut
from ecmvae.locks import temporary_folder
from ecmvae.prediction.options import Style
from ecmvae.prediction.writers import WRITERS
from ecmvae.serving.connections import Deadlines, RequestDeadlines, with_deadlines
from ecmvae.serving.guard import (
    AllowedHosts,
    HostGuard,
    JsonGuard,
    LoginGuard,
    SecurityHeaders,
    UploadQuota,
)
from ecmvae.serving.quotas import LoginThrottle, UploadStore
from ecmvae.serving.service import Cancelled, JobOptions, Limits, PredictionService, SessionStore

logger = logging.getLogger(__name__)

_KEPT_SECONDS = 3600  # how long uploads and results stay
_QUEUE = 20  # visitors who may wait
_CAMERA = {
    "video": {"width": {"ideal": 640}, "height": {"ideal": 480}},
    # Disable noise suppression, which removes non-speech sounds.
    "audio": {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False},
}
"""Camera and microphone settings of a recording. It is not mirrored, to look like the overlay beside it."""
_LOOKS = Path(str(files("ecmvae"))) / "serving" / "app_page"
_LONGEST_WORDS = 1000
_SWEEP_SECONDS = 60  # between two looks for unused uploads


def build_page(
    service: PredictionService,
    limits: Limits,
    sessions: SessionStore,
    uploads: UploadStore,
    examples: Iterable[Path] = (),
) -> Any:
    """The page as a `gradio.Blocks`; build it inside `own_folder`.

    Args:
        service: Runs the jobs.
        limits: Shown on the page; `jobs` of them run at a time.
        sessions: Folders and cancelling.
        uploads: Told which uploads are used; `launch` takes the same.
        examples: Videos to try.
    """
    import gradio as gr

    downloads = {name: WRITERS.get(name).label for name in WRITERS if WRITERS.get(name).label}

    def segment(
        video: str | None,
        style: str,
        threshold: int | float,
        samples: int | float,
        smoothing: int | float,
        cutout: bool,
        request: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # this is how Gradio injects it
        *,
        words: str = "",
    ) -> tuple[Any, ...]:
        if video is None:
            raise gr.Error(
                "Drop a video or record one first.", title="No video", print_exception=False
            )
        uploads.use(Path(video))
        options = JobOptions(
            style=cast(Style, style),
            threshold=float(threshold),
            samples=int(samples),
            smoothing=float(smoothing),
            concepts=words,
            writers=tuple(name for name in downloads if cutout or name != "cutout"),
        )
        try:
            with sessions.job(request.session_hash or "") as (folder, stop):
                answer = service.run(
                    Path(video),
                    options,
                    folder=folder,
                    cancelled=stop,
                    progress=lambda share: progress(share, desc="Looking and listening"),
                )
        except UserError as error:
            # the folder does not help
            line = html.escape(str(error).replace(f"{Path(video).parent}{os.sep}", ""))
            raise gr.Error(
                line, title="This did not work", duration=30, print_exception=False
            ) from error
        except Cancelled:
            raise gr.Error("Nothing was kept.", title="Cancelled", print_exception=False) from None
        buttons = [
            gr.DownloadButton(value=answer.files.get(name), visible=name in answer.files)
            for name in downloads
        ]
        return str(answer.files["overlay"]), answer.summary, answer.timeline, *buttons

    def segment_concepts(
        video: str | None,
        style: str,
        threshold: int | float,
        samples: int | float,
        smoothing: int | float,
        cutout: bool,
        words: str,
        request: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        return segment(
            video,
            style,
            threshold,
            samples,
            smoothing,
            cutout,
            request,
            progress,
            words=words or "",
        )

    def cancel(request: Any) -> str:
        sessions.cancel(request.session_hash or "")
        return "Cancelled."

    def leave(request: Any) -> None:
        sessions.leave(request.session_hash or "")

    # Gradio passes the request by type, and imports are local
    for function in (segment, segment_concepts, cancel, leave):
        function.__annotations__ = {"request": gr.Request}

    class Page(gr.Blocks):
        """Answers inputs that no browser sends with one line, as other errors; Gradio prints a traceback for each."""

        async def preprocess_data(self, *arguments: Any, **named: Any) -> Any:
            try:
                return await super().preprocess_data(*arguments, **named)
            except (
                Exception
            ) as error:  # any: they come from the components, from pydantic, from moving files
                logger.warning("refused a job: %s: %s", type(error).__name__, cut(str(error)))
                message = "These are not inputs of this page."
                raise gr.Error(message, title="This did not work", print_exception=False) from error

    with Page(
        title="What sounds here?", analytics_enabled=False, delete_cache=(600, _KEPT_SECONDS)
    ) as page:
        gr.Markdown(
            "# What sounds here?\nDrop a video, or record one: the objects that sound are marked. Videos stay "
            f"on the machine that serves this page. Up to {limits.seconds:g} seconds and {limits.megabytes} MB."
        )
        with gr.Row():
            camera = gr.WebcamOptions(mirror=False, constraints=_CAMERA)
            source = gr.Video(
                label="Your video",
                sources=["upload", "webcam"],
                webcam_options=camera,
                elem_id="source",
            )
            result = gr.Video(label="What sounds in it", interactive=False, elem_id="result")
        clips = [[str(path)] for path in examples]
        if clips:
            gr.Examples(clips, inputs=[source], label="Or try one of these")
        with gr.Row(elem_id="choices"):
            style = gr.Radio(
                list(get_args(Style)),
                value="contour",
                label="Style",
                elem_id="style",
                scale=5,
                min_width=350,
            )
            slider: dict[str, Any] = {"scale": 3, "min_width": 200}
            share: dict[str, Any] = {"step": 0.05, **slider}
            threshold = gr.Slider(
                0.05, 0.95, value=0.5, label="Threshold", elem_id="threshold", **share
            )
            samples = gr.Slider(
                1,
                16,
                value=1,
                step=1,
                label="Samples",
                elem_id="samples",
                visible=not service.takes_concepts,
                **slider,
            )
            smoothing = gr.Slider(
                0.0, 1.0, value=0.25, label="Smoothing", elem_id="smoothing", **share
            )
        averaged = (
            "" if service.takes_concepts else " Samples are averaged: more are slower and steadier."
        )
        gr.Markdown(
            "A pixel is marked where its probability is above the threshold."
            + averaged
            + " Smoothing over time reduces flicker.",
            elem_id="hint",
        )
        words = (
            gr.Textbox(
                label="What to listen and look for",
                placeholder="dog, guitar, person speaking",
                elem_id="concepts",
                max_length=_LONGEST_WORDS,
            )
            if service.takes_concepts
            else None
        )
        cutout = gr.Checkbox(
            label="Also cut out what sounds (WebM with transparency; takes longer)",
            elem_id="cutout",
        )
        with gr.Row(elem_id="actions"):
            start = gr.Button("Find what sounds", variant="primary", elem_id="start", scale=3)
            stop = gr.Button("Cancel", elem_id="cancel", scale=1)
        summary = gr.Textbox(label="Result", interactive=False, elem_id="summary")
        timeline = gr.HTML(elem_id="timeline")
        with gr.Row(elem_id="downloads"):
            buttons = [
                gr.DownloadButton(
                    f"\N{DOWNWARDS ARROW TO BAR} {label}", visible=False, size="sm", min_width=140
                )
                for label in downloads.values()
            ]
        started = start.click(
            segment if words is None else segment_concepts,
            inputs=[
                source,
                style,
                threshold,
                samples,
                smoothing,
                cutout,
                *([] if words is None else [words]),
            ],
            outputs=[result, summary, timeline, *buttons],
            show_progress_on=[result],
            concurrency_limit=limits.jobs,
            api_name="segment",
        )
        # an old result must not stand beside another video
        source.change(
            lambda: (None, "", "", *(gr.DownloadButton(visible=False) for _ in downloads)),
            outputs=[result, summary, timeline, *buttons],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        # `cancel` stops a running job, `cancels` takes a waiting one out of the queue.
        stop.click(
            cancel,
            outputs=[summary],
            cancels=[started],
            queue=False,
            show_progress="hidden",
            api_name="cancel",
        )
        page.unload(leave)
    return page


def launch(
    page: Any,
    limits: Limits,
    uploads: UploadStore,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allowed_hosts: Iterable[str] = (),
    password: str | None = None,
    throttle: LoginThrottle | None = None,
    deadlines: Deadlines | None = None,
) -> str:
    """Serve a page without any outgoing connection.

    Args:
        page: From `build_page`.
        limits: For the size of uploads.
        uploads: Grants the room for them.
        host: Address to listen on.
        port: Port to listen on; None = the first free one from 7860 on.
        allowed_hosts: Names of this page besides `host`, see `AllowedHosts`.
        password: Asked for, with the user name "ecmvae"; None = not.
        throttle: Slows down guesses of the password; None = a new one.
        deadlines: How long clients may take to send a request; None = `Deadlines`' own.

    Returns:
        The page's address, once it answers.

    Raises:
        OSError: If the port is taken.
        UserError: If an allowed host has a scheme, a port or a path.
    """
    import gradio as gr
    from starlette.middleware import Middleware
    from uvicorn.protocols.http.h11_impl import H11Protocol

    outer = [
        Middleware(RequestDeadlines),
        Middleware(SecurityHeaders),
        Middleware(HostGuard, hosts=AllowedHosts(host, tuple(allowed_hosts))),
    ]
    inner = [Middleware(UploadQuota, uploads=uploads)]
    if password:
        inner.append(Middleware(LoginGuard, throttle=throttle or LoginThrottle()))
    inner.append(Middleware(JsonGuard))

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.user_middleware[:0] = (
            outer  # Gradio has put its own around ours; the server does not listen yet
        )
        app.middleware_stack = app.build_middleware_stack()
        sweeping = asyncio.create_task(_sweep(uploads))
        yield
        sweeping.cancel()

    # By default uvicorn believes an address that a client on this machine claims to forward, and guesses would be free.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")

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
        app_kwargs={"middleware": inner, "lifespan": lifespan},
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css_paths=[_LOOKS / "page.css"],
        head=f"<script>{(_LOOKS / 'page.js').read_text(encoding='utf-8')}</script>",
        prevent_thread_lock=True,
        quiet=True,
    )
    # Gradio has no parameter for the protocol, which is looked up whenever a connection opens. uvicorn's
    # other one, httptools, does not limit the size of a request's head.
    page.server.config.http_protocol_class = with_deadlines(H11Protocol, deadlines or Deadlines())
    return str(address)


async def _sweep(uploads: UploadStore) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(uploads.delete_unused)


def own_examples() -> list[Path]:
    """The example clip: beside this file in an installed package, in docs/ in a checkout."""
    package = Path(str(files("ecmvae")))
    places = (_LOOKS / "example.mp4", package.parent / "docs" / "assets" / "example.mp4")
    return [place for place in places if place.is_file()][:1]


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder for all files, Gradio's included; deleted at the end.

    Those that killed servers have left are deleted first.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    with temporary_folder("ecmvae-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # Gradio reads no other setting
        try:
            yield folder
        finally:
            del os.environ["GRADIO_TEMP_DIR"]
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before
