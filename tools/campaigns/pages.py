"""What the campaigns against the page share: pages that run, requests to them, and what has become of them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from campaigns.base import Campaign
from campaigns.page import Page
from campaigns.processes import Command

SECRET = b"the secret beside the page"
PASSWORD = "open sesame"
LIMITS = {"max_megabytes": 1, "visitor_megabytes": 2, "total_megabytes": 4, "max_seconds": 5}


class PageCampaign(Campaign):
    """Attacks on pages that are started when they are first needed."""

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.requests = 0
        self._pages: dict[str, Page] = {}
        self._read: dict[int, int] = {}
        self._room: dict[int, int] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Start the page, a file that it must not read and a server that it must not ask."""
        Command(["--version"], self.work / "imports", self.work / "temporary").wait()
        self.secret = self.work / "secret.txt"
        self.secret.write_bytes(SECRET)
        self.asked = Listener()
        self._held.enter_context(self.asked)
        self.page = self._running("page")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the pages."""
        self._held.close()

    def _running(self, name: str, *options: str) -> Page:
        """A page of this name, started once."""
        if name not in self._pages:
            limits = [word for key, value in LIMITS.items() for word in (f"--{key}", str(value))]
            page = Page(self.work, [*limits, "--allowed_hosts", "[page.example]", *options])
            self._pages[name] = self._held.enter_context(page)
            self._room[page.port] = page.stored() + LIMITS["total_megabytes"] * 1_000_000
        return self._pages[name]

    def _locked(self) -> Page:
        word = self.work / "word.txt"
        word.write_text(PASSWORD)
        return self._running("with a password", "--password_file", str(word))

    def _harmed(self, page: Page) -> str:
        """What has become of a page: its log, its answers, its folder."""
        log = page.log()
        new, self._read[page.port] = log[self._read.get(page.port, 0) :], len(log)
        if "Traceback" in new:
            return f"traceback in the log: {new.strip().splitlines()[-1][:200]}"
        odd = [
            line for line in new.splitlines() if not line.isprintable() or line.startswith("FORGED")
        ]
        if odd:
            return f"in the log: {odd[0][:100]!a}"
        if not page.command.alive():
            return "the page has ended"
        answer = page.ask("GET", "/", seconds=20)
        if answer.status != 200:
            return f"the page answers {answer.status}"
        if page.stored() > self._room[page.port] + 100_000:  # and a job's results
            return f"{page.stored()} bytes are stored"
        return ""

    def _upload(self, content: bytes, name: str, rng: Random) -> Mapping[str, str] | str:
        """Headers with which an upload comes back; or why it is lost."""
        visitor = f"127.0.{rng.randrange(2, 250)}.1"
        self.requests += 2
        answer = self.page.upload(content, name, visitor)
        if answer.status == 413:  # the page is full of earlier attacks
            return {"x-content-type-options": "nosniff"}
        if answer.status != 200:
            return f"an upload gets {answer.status}"
        (path,) = json.loads(answer.body)
        if not path.startswith(str(self.page.folder)):
            return f"stored at {path}"
        return self.page.ask("GET", f"/gradio_api/file={path}", visitor=visitor).headers

    def _raw(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, page: Page | None = None,
        visitor: str = "127.0.0.1", seconds: float = 5.0,
    ) -> bytes:  # fmt: skip
        """One request whose every byte is ours; the start of the answer."""
        self.requests += 1
        lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        head = f"{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"
        return (page or self.page).raw(
            head.encode("utf-8", "surrogateescape") + body, visitor, seconds
        )


class Listener:
    """Counts connections to a port of this machine."""

    def __init__(self) -> None:
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.count += 1
            connection.close()
