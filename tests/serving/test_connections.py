"""Clients that send too slowly, on real sockets: their connections are closed, those of others are not."""

import logging
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from listening_model import ListeningModel

from ecmvae.serving.app import build_page, launch, own_folder
from ecmvae.serving.connections import Deadlines
from ecmvae.serving.quotas import UploadStore
from ecmvae.serving.service import Limits, PredictionService, SessionStore

LIMITS = Limits(megabytes=1)
DEADLINES = Deadlines(head_seconds=1.0, body_seconds=1.5, slowest_rate=50_000.0)
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
FORM = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=XX\r\n"
    b"Content-Length: 500000\r\n\r\n"
    b'--XX\r\nContent-Disposition: form-data; name="files"; filename="x.bin"\r\n\r\n'
)


@dataclass
class Site:
    """A running page."""

    folder: Path
    address: str = ""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", urlsplit(self.address).port or 0), timeout=20)

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with own_folder() as folder:
        uploads, service = (
            UploadStore(LIMITS),
            PredictionService(ListeningModel(32, 2), "cpu", LIMITS),
        )
        page = build_page(service, LIMITS, SessionStore(folder), uploads)
        yield Site(folder, launch(page, LIMITS, uploads, deadlines=DEADLINES))
        page.close(verbose=False)


def seconds_until_closed(
    raw: socket.socket, drip: bytes = b"", limit: float = 10.0
) -> tuple[float, bytes]:
    """How long the server keeps a connection, to which a byte of `drip` is sent every 0.1 s, and what it answers."""
    began, answer = time.monotonic(), b""
    raw.settimeout(0.1)
    while time.monotonic() - began < limit:
        try:
            if drip:
                raw.sendall(drip)
            part = raw.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            break
        if not part:
            break
        answer += part
    return time.monotonic() - began, answer


@pytest.mark.parametrize("begun", [b"", b"GET", HEAD], ids=["nothing", "method", "half a head"])
@pytest.mark.parametrize("drip", [b"", b"a"], ids=["silent", "dripping"])
def test_a_head_has_its_time(
    site: Site, begun: bytes, drip: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with site.connect() as raw, caplog.at_level(logging.WARNING, "ecmvae"):
        raw.sendall(begun)
        kept, answer = seconds_until_closed(raw, drip)
    assert 0.8 < kept < 9  # closed, however busy the machine is
    assert answer == b""
    assert caplog.messages == [
        "closed a connection from 127.0.0.1: no whole request in 1 s"
    ] * bool(begun or drip)


def test_the_second_head_of_a_connection_too(site: Site) -> None:
    with site.connect() as raw:
        raw.sendall(HEAD + b"\r\n")
        assert raw.recv(12) == b"HTTP/1.1 200"
        raw.sendall(HEAD)
        kept, _ = seconds_until_closed(raw, b"a")
    assert 0.8 < kept < 9  # closed, however busy the machine is


def test_many_sockets_are_gone_and_the_page_answers(site: Site) -> None:
    held = [site.connect() for _ in range(200)]
    try:
        for raw in held:
            raw.sendall(HEAD)
        with urllib.request.urlopen(site.address, timeout=20) as response:
            assert response.status == 200
        assert max(seconds_until_closed(raw)[0] for raw in held) < 9
    finally:
        for raw in held:
            raw.close()


def test_a_body_has_its_time_and_leaves_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with site.connect() as raw, caplog.at_level(logging.WARNING, "ecmvae"):
        raw.sendall(FORM)
        kept, answer = seconds_until_closed(raw, b"a")
    assert 1.3 < kept < 9
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the upload was cut short" in answer
    # a connection that an earlier test left open may be closed meanwhile
    given_up = [line for line in caplog.messages if line.startswith("gave up")]
    assert given_up == ["gave up a request from 127.0.0.1: its body arrives too slowly"]
    assert not site.files()


def test_a_client_may_be_slow_but_steady(site: Site) -> None:
    """4 s for a body, with 1.5 s of waiting free: slower than the deadline alone, faster than the slowest rate."""
    with site.connect() as raw:
        raw.sendall(FORM)
        end = b"\r\n--XX--\r\n"
        body = bytes(500_000 - (len(FORM) - FORM.index(b"--XX")) - len(end)) + end
        for start in range(0, len(body), 25_000):
            time.sleep(0.2)
            raw.sendall(body[start : start + 25_000])
        assert raw.recv(12) == b"HTTP/1.1 200"


def test_the_rest_of_a_refused_request_is_read(site: Site) -> None:
    """The client reads the refusal only when it has sent everything, as browsers do."""
    with site.connect() as raw:
        raw.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 600000\r\n\r\n"
        )
        for _ in range(20):
            time.sleep(0.15)
            raw.sendall(bytes(30_000))
        assert raw.recv(12) == b"HTTP/1.1 403"


def test_an_answer_may_take_longer_than_any_deadline(site: Site) -> None:
    """A stream that says nothing for a while stays open."""
    with site.connect() as raw:
        raw.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: localhost\r\n\r\n")
        kept, answer = seconds_until_closed(raw, limit=3.0)
    assert answer.startswith(b"HTTP/1.1 200")
    assert kept > 3
