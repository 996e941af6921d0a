"""A stream over this machine's loopback, at the speed at which it plays: TCP, UDP, HTTP or RTSP."""

import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread
from typing import Literal

import numpy as np
from flash_clip import SAMPLE_RATE
from odd_videos import OddVideo, Track

CHUNK = 7 * 188  # bytes: what one UDP packet carries of a transport stream
FPS = 10


def transport_stream(seconds: float = 4.0, *, sound: bool = True, fps: int = FPS) -> bytes:
    """A white square in the middle of black, 128 x 96, and a tone from 1.5 s on: MPEG-TS with a key frame every half
    second."""
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[24:72, 32:96] = 255
    clock = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = (0.5 * np.sin(2 * np.pi * 440 * clock) * (clock >= 1.5)).astype(np.float32)
    tracks = [Track(tone[None], rate=SAMPLE_RATE, codec="mp2")] if sound else []
    options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(fps // 2), "threads": "1"}
    video = OddVideo(
        [frame] * round(seconds * fps), rate=Fraction(fps), tracks=tracks, options=options
    )
    with tempfile.TemporaryDirectory() as folder:
        return video.write(Path(folder) / "stream.ts").read_bytes()


class LiveServer:
    """Sends a transport stream once, in real time, to the first who asks. A context manager.

    Args:
        content: The stream.
        seconds: How long it plays.
        kind: By which protocol.
        stall: Stop sending after this share, without closing.

    Attributes:
        url: Where it is.
        asked: Whether somebody has connected.
    """

    def __init__(
        self,
        content: bytes,
        seconds: float,
        kind: Literal["tcp", "udp", "http", "rtsp"] = "tcp",
        *,
        stall: float = 1.0,
        answer: bytes | None = None,
    ) -> None:
        self._content, self._seconds, self._kind, self._stall, self._answer = (
            content,
            seconds,
            kind,
            stall,
            answer,
        )
        self._stop = Event()
        self.asked = Event()
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        )
        self._socket.bind(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        if kind == "udp":
            self._socket.close()
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        else:
            self._socket.listen()
            self._socket.settimeout(0.1)
        self._port = port
        self.url = f"{kind}://127.0.0.1:{port}" + ("/live" if kind in ("http", "rtsp") else "")
        self._thread = Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "LiveServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _chunks(self) -> Iterator[tuple[float, bytes]]:
        """Pieces of the stream with their times, when these have come."""
        started = time.monotonic()
        for at in range(0, round(self._stall * len(self._content)), CHUNK):
            moment = at / len(self._content) * self._seconds
            if self._stop.wait(max(moment - (time.monotonic() - started), 0)):
                return
            yield moment, self._content[at : at + CHUNK]
        if self._stall < 1:
            self._stop.wait()

    def _serve(self) -> None:
        with suppress(OSError):  # the reader has left
            if self._kind == "udp":
                for _, chunk in self._chunks():
                    self._socket.sendto(chunk, ("127.0.0.1", self._port))
                return
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    connection, _ = self._socket.accept()
                    break
            else:
                return
            self.asked.set()
            with connection:
                getattr(self, f"_{self._kind}")(connection)

    def _tcp(self, connection: socket.socket) -> None:
        for _, chunk in self._chunks():
            connection.sendall(chunk)

    def _http(self, connection: socket.socket) -> None:
        connection.recv(4096)
        if self._answer is not None:
            connection.sendall(self._answer)
            return
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        self._tcp(connection)

    def _rtsp(self, connection: socket.socket) -> None:
        """As much of RFC 2326 as a player asks for; the transport stream goes as RTP inside the connection."""
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track0\r\n"
        answers = {
            "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
            "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
            "PLAY": "Session: 1\r\n\r\n",
        }
        asked = b""
        while True:
            while b"\r\n\r\n" not in asked:
                if not (more := connection.recv(4096)):
                    return
                asked += more
            head, _, asked = asked.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            verb = lines[0].split()[0]
            (number,) = [line for line in lines if line.lower().startswith("cseq")]
            connection.sendall(f"RTSP/1.0 200 OK\r\n{number}\r\n{answers[verb]}".encode())
            if verb == "PLAY":
                break
        for sequence, (moment, chunk) in enumerate(self._chunks()):
            header = struct.pack(
                "!BBHII", 0x80, 33, sequence % 65536, round(90_000 * moment) % 2**32, 1
            )
            connection.sendall(
                struct.pack("!BBH", 0x24, 0, len(header) + len(chunk)) + header + chunk
            )
