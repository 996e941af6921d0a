"""`ecmvae app`: its signature for the command line; the page is imported when it starts."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from threading import Event

from ecmvae.errors import UserError, check_range

logger = logging.getLogger(__name__)


def app(
    *,
    checkpoint: str | None = None,
    concepts: str | None = None,
    trust_code: bool = False,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,
    allowed_hosts: list[str] | None = None,
    password_file: Path | None = None,
    password: str | None = None,
    examples: list[Path] | None = None,
    max_megabytes: int = 200,
    max_seconds: float = 120.0,
    visitor_megabytes: int = 1000,
    total_megabytes: int = 4000,
    jobs: int = 1,
) -> None:
    """Serve a web page that segments the sounding objects in uploaded or recorded videos.

    Nothing leaves this machine, and only this machine reaches the page unless --host says otherwise.

    Examples:
        ecmvae app
        ecmvae app --checkpoint concepts --concepts "dog, guitar, person speaking"
        ecmvae app --host 0.0.0.0 --password_file word.txt --max_seconds 30

    Args:
        checkpoint: Folder, run, name (see ecmvae models) or hf://owner/name; without it the packaged model, else the
            newest runs/demo. Or concepts (concepts:clap+clipseg): foundation models without training.
        concepts: With --checkpoint concepts: the classes to search for unless a visitor names others, such as
            'dog, guitar', or a table of names (.csv); without it the tagger's own names.
        trust_code: Import the classes that the checkpoint's configuration names by import path: runs their code.
        device: auto, cpu, cuda, cuda:1 or mps.
        host: Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 everyone in the network.
        port: Port to listen on.
        allowed_hosts: Host names by which visitors reach the page besides --host, for example that of a reverse proxy:
            [page.example]. Requests to other names, and requests from other pages, are refused.
        password_file: Ask visitors for the password in the first line of this file (user name: ecmvae). The
            environment variable ECMVAE_APP_PASSWORD does the same.
        password: The password itself. Every user of this machine can read it in the list of processes, and the
            shell's history keeps it: --password_file and ECMVAE_APP_PASSWORD are better.
        examples: Example videos on the page: [a.mp4, b.mp4]; by default a clip that comes with ecmvae.
        max_megabytes: Largest upload.
        max_seconds: Longest video.
        visitor_megabytes: Limit of the uploads of one visitor (an address); more is refused until they are deleted.
        total_megabytes: Limit of the uploads of all visitors.
        jobs: Number of simultaneous predictions; others wait.

    Raises:
        UserError: If Gradio is not installed, the model or an example is not found, the password is empty or given
            twice, or the port is in use.
    """
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'ecmvae[app]'")
    check_range("port", port, 1, 65_535)
    password = _chosen_password(password, password_file)
    for example in examples or []:
        if not example.is_file():
            raise UserError(f"there is no example video {example}")
    from ecmvae.memory import limit_arenas
    from ecmvae.serving.app import build_page, launch, own_examples, own_folder
    from ecmvae.serving.guard import AllowedHosts
    from ecmvae.serving.quotas import UploadStore
    from ecmvae.serving.service import Limits, PredictionService, SessionStore

    limits = Limits(
        megabytes=max_megabytes,
        seconds=max_seconds,
        jobs=jobs,
        visitor_megabytes=visitor_megabytes,
        total_megabytes=total_megabytes,
    )
    # refuses a wrong name before the model is loaded
    AllowedHosts(host, tuple(allowed_hosts or ()))
    limit_arenas()
    service = PredictionService(
        checkpoint, device, limits, trust_code=trust_code, concepts=concepts
    )
    with own_folder() as folder:
        sessions, uploads = SessionStore(folder), UploadStore(limits, folder=folder)
        page = build_page(
            service, limits, sessions, uploads, own_examples() if examples is None else examples
        )
        try:
            address = launch(
                page,
                limits,
                uploads,
                host=host,
                port=port,
                allowed_hosts=allowed_hosts or (),
                password=password,
            )
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port} ({error}): choose another --port"
            ) from error
        if host not in ("127.0.0.1", "localhost", "::1") and password is None:
            logger.warning(
                "everyone who reaches %s may use this page: --password_file asks for a password",
                host,
            )
        print(f"{address} (Ctrl-C ends it)", flush=True)
        try:
            Event().wait()
        finally:
            sessions.close()
            page.close(verbose=False)


def _chosen_password(password: str | None, file: Path | None) -> str | None:
    """The password of the option, the file or the environment; None = no password.

    Raises:
        UserError: If both options are given, the file cannot be read, or the password is empty.
    """
    if password is not None and file is not None:
        raise UserError("give --password_file or --password, not both")
    source = "--password"
    if file is not None:
        source = f"the first line of {file}"
        try:
            with file.open(encoding="utf-8") as lines:
                password = lines.readline(1000).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the password file {file}: {error}") from error
    elif password is None:
        source = "ECMVAE_APP_PASSWORD"
        password = os.environ.get(source)
    if password == "":
        raise UserError(f"the password is empty ({source}): name one, or leave it out")
    return password
