"""A really running `ecmvae app` on this machine, plain HTTP to it, and what its log and its folder say."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from campaigns.processes import Command, wait_for
from ecmvae.config import config_from_dict
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model

UPLOAD = "/gradio_api/upload"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=XX"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """A response: its status, headers with lower-case names, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Page:
    """The server as a process of its own, ended with the block.

    Args:
        work: Folder for its log, its temporary files and a tiny model.
        options: More of its command line.
    """

    def __init__(self, work: Path, options: Sequence[str] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.folder = work / f"page-{self.port}"
        words = [
            "app",
            "--checkpoint",
            str(tiny_model(work)),
            "--device",
            "cpu",
            "--port",
            str(self.port),
            *options,
        ]
        self.command = Command(words, work / f"page-{self.port}.log", self.folder)

    def __enter__(self) -> Self:
        """Wait until it listens."""
        wait_for(lambda: "Ctrl-C ends it" in self.log() or not self.command.alive())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.command.send(signal.SIGTERM)
        self.command.wait(20)

    def log(self) -> str:
        """What it has printed so far."""
        return self.command.text()

    def stored(self) -> int:
        """Bytes of all files in its folder."""
        sizes = []
        for path in self.folder.rglob("*"):
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except OSError:  # deleted in the meantime
                continue
        return sum(sizes)

    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.command.process}/status").read_text()
        return float(status.partition("VmRSS:")[2].split()[0]) / 1024

    def connect(self, visitor: str = "127.0.0.1", seconds: float = 20.0) -> socket.socket:
        """A connection from one of this machine's own addresses."""
        return socket.create_connection(
            ("127.0.0.1", self.port), seconds, source_address=(visitor, 0)
        )

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        visitor: str = "127.0.0.1",
        seconds: float = 60.0,
    ) -> Answer:
        """One request. Headers replace the usual ones."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, seconds, source_address=(visitor, 0)
        )
        try:
            connection.request(
                method, quote(path, safe="/?=&%:@,;+*~!$'()[]"), body, dict(headers or {})
            )
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def raw(self, content: bytes, visitor: str = "127.0.0.1", seconds: float = 5.0) -> bytes:
        """Send bytes, and read until the server closes or says nothing for so long."""
        received = b""
        with self.connect(visitor, seconds) as connection:
            try:
                connection.sendall(content)
                while part := connection.recv(65_536):
                    received += part
            except OSError:  # closed, or silent
                pass
        return received

    def upload(
        self,
        content: bytes,
        name: str = "x.mp4",
        visitor: str = "127.0.0.1",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Upload one file; the answer is a JSON list with its path."""
        return self.ask(
            "POST", UPLOAD, multipart(content, name), {**MULTIPART, **(headers or {})}, visitor
        )

    def segment(
        self, video: object, choices: Sequence[object], visitor: str = "127.0.0.1"
    ) -> tuple[str, Any]:
        """Run a job by the page's API; the last event's name and data.

        Args:
            video: What is sent as the video.
            choices: Style, threshold, samples, smoothing, cut-out.
            visitor: Address to come from.
        """
        body = json.dumps({"data": [video, *choices]}).encode()
        started = self.ask("POST", "/gradio_api/call/segment", body, JSON, visitor)
        if started.status != 200:
            return f"status {started.status}", started.body.decode(errors="replace")
        event = json.loads(started.body)["event_id"]
        answer = self.ask("GET", f"/gradio_api/call/segment/{event}", visitor=visitor, seconds=120)
        return _last_event(answer.body.decode())

    def browse(
        self, video: object, choices: Sequence[object], visitor: str = "127.0.0.1"
    ) -> tuple[str, Any]:
        """Run a job as the page in a browser does: through the queue, with a session of its own."""
        session = uuid.uuid4().hex[:10]
        config = json.loads(self.ask("GET", "/config", visitor=visitor).body)
        number = next(
            each["id"] for each in config["dependencies"] if each.get("api_name") == "segment"
        )
        body = json.dumps(
            {"data": [video, *choices], "fn_index": number, "session_hash": session}
        ).encode()
        started = self.ask("POST", "/gradio_api/queue/join", body, JSON, visitor)
        if started.status != 200:
            return f"status {started.status}", started.body.decode(errors="replace")
        answer = self.ask(
            "GET", f"/gradio_api/queue/data?session_hash={session}", visitor=visitor, seconds=120
        )
        for line in reversed(answer.body.decode().splitlines()):
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return (
                    ("complete", message["output"]["data"])
                    if message["success"]
                    else ("error", message["output"])
                )
        return "nothing", answer.body.decode()[-200:]


def multipart(content: bytes, name: str = "x.mp4") -> bytes:
    """A form with one file."""
    head = f'--XX\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode("utf-8", "surrogateescape") + content + b"\r\n--XX--\r\n"


def file_data(path: str, **more: object) -> dict[str, object]:
    """An uploaded file as Gradio's clients name it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def tiny_model(work: Path) -> Path:
    """A model folder with random weights, made once."""
    folder = work / "tiny-model"
    if not folder.exists():
        visual, audio = {"name": "efficientnet_lite0"}, {"name": "vggish_small", "frozen": False}
        settings = {
            "model": {"visual": visual, "audio": audio, "channels": 8},
            "data": {"image_size": 64},
        }
        config = config_from_dict(settings)
        save_model(build_model(config.model, image_size=64), folder, config)
    return folder


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(
        response.status,
        {name.lower(): text for name, text in response.getheaders()},
        response.read(),
    )


def _last_event(text: str) -> tuple[str, Any]:
    name, data = "nothing", None
    for line in text.splitlines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
    return name, data


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition comes true in time."""
    try:
        wait_for(condition, seconds)
    except TimeoutError:
        return False
    return True
