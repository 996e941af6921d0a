"""`ecmvae app`: its signature for the command line; the page is imported when it starts."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from threading import Event

from ecmvae.errors import UserError, check_range

logger = logging.getLogger(__name__)


def app(
    *,
    checkpoint: str | None = None,
    trust_code: bool = False,
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
        trust_code: Import the classes that the checkpoint's configuration names by import path: runs their code.
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
    check_range("port", port, 1, 65_535)
    if password == "":
        raise UserError("the password is empty: name one, or leave --password out")
    for example in examples or []:
        if not example.is_file():
            raise UserError(f"there is no example video {example}")
    from ecmvae.serving.app import build_page, launch, own_examples, own_folder
    from ecmvae.serving.service import Limits, PredictionService, SessionStore

    limits = Limits(megabytes=max_megabytes, seconds=max_seconds, jobs=jobs)
    service = PredictionService(checkpoint, device, limits, trust_code=trust_code)
    with own_folder() as folder:
        sessions = SessionStore(folder)
        page = build_page(service, limits, sessions, own_examples() if examples is None else examples)
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
            sessions.close()
            page.close(verbose=False)
