"""Requests that `ecmvae app` must refuse, sent to a running page on this machine.

Foreign host names and pages (DNS rebinding), paths and addresses wherever a file is expected, web pages as uploads,
uploads that are too large, too many or malformed, chunked bodies, web sockets, slow clients, password guesses, large
and deep JSON, control characters, broken HTTP. An attack succeeds if something is accepted, a secret next to the page's
folder is read, an address is fetched, more is stored than the limits allow, a traceback or a control character appears
in the log, or the page no longer answers. The 50 guesses are not waited for: those within 6 seconds are counted, and
the rest is computed from the last delay, which only grows.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from urllib.parse import quote, urlencode

from campaigns.base import Trial
from campaigns.page import JSON, MULTIPART, UPLOAD, multipart, until
from campaigns.pages import LIMITS, SECRET, PageCampaign
from campaigns.web_material import (
    BROKEN_HTTP,
    CONTROL_CHARACTERS,
    FOREIGN_HTTP,
    FORM_TYPES,
    ROADS,
    WEB_PAGES,
    hostile_json,
    hosts,
    malformed_form,
    origins,
    outside,
    private_requests,
    video_of,
)

_CHOICES = ("contour", 0.5, 1, 0.0, False)
_PATHS = ("/", "/config", "/gradio_api/info", "/gradio_api/startup-events", "/theme.css")
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_HEAD_SECONDS = 10


class Web(PageCampaign):
    """Attack number i is of kind i modulo the number of kinds."""

    runs = 100
    quick = 16

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.kinds = {
            "foreign host": self._foreign_host,
            "foreign page": self._foreign_page,
            "file outside by address": self._file_outside,
            "file outside by a job": self._job_outside,
            "web page as an upload": self._web_page,
            "too large": self._too_large,
            "quota": self._quota,
            "chunked": self._chunked,
            "malformed form": self._malformed_form,
            "web socket": self._web_socket,
            "slow client": self._slow,
            "password": self._guess,
            "without the password": self._without_password,
            "JSON": self._json,
            "control characters": self._control_characters,
            "broken HTTP": self._broken_http,
        }
        self.guesses: list[float] = []

    def figures(self) -> Mapping[str, float | int | str]:
        """Requests made, and how long 50 guesses would have taken."""
        found: dict[str, float | int | str] = {"requests": self.requests}
        if self.guesses:
            found["least_seconds_for_50_guesses"] = round(min(self.guesses))
        return found

    def trial(self, index: int) -> Trial:
        """Attack, then look at the pages."""
        kind = [*self.kinds][index % len(self.kinds)]
        detail: list[str] = []
        lost = self.kinds[kind](self.rng(index), detail)
        harm = [*filter(None, map(self._harmed, self._pages.values()))]
        lost = lost or (harm[0] if harm else "")
        if self.asked.count:
            self.asked.count, lost = 0, "the page fetched an address"
        return Trial(kind, lost, ", ".join(detail)[:300])

    def _foreign_host(self, rng: Random, detail: list[str]) -> str:
        port = self.page.port
        for host in rng.sample(hosts(port), 6):
            path = rng.choice(_PATHS)
            detail.append(host[:40])
            answer = self._raw("GET", path, {"Host": host, "Origin": f"http://{host}"})
            if not answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")):
                return f"Host {host[:40]!r} gets {path}: {answer[:40]!r}"
            if b"access-control-allow-origin" in answer.lower():
                return f"Host {host[:40]!r} may read the answer"
        # two Host headers
        both = self._raw("GET", "/config", {"Host": "localhost", "host": "evil.example"})
        return (
            ""
            if both.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
            else f"two hosts: {both[:40]!r}"
        )

    def _foreign_page(self, rng: Random, detail: list[str]) -> str:
        stored, port = self.page.stored(), self.page.port
        for origin in rng.sample(origins(port), 5):
            detail.append(origin[:40])
            method, path = rng.choice(
                [
                    ("POST", UPLOAD),
                    ("OPTIONS", UPLOAD),
                    ("POST", "/gradio_api/call/segment"),
                    ("GET", "/config"),
                ]
            )
            body = (
                {UPLOAD: multipart(b"x" * 1000)}.get(path, b'{"data": []}')
                if method == "POST"
                else b""
            )
            kind = rng.choice([MULTIPART, {"Content-Type": "text/plain"}])
            own = {"Host": rng.choice([f"127.0.0.1:{port}", f"localhost:{port}", "page.example"])}
            answer = self._raw(
                method,
                path,
                {**own, **kind, "Origin": origin, "Content-Length": str(len(body))},
                body,
            )
            if not answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")):
                return f"Origin {origin[:40]!r} gets {method} {path}: {answer[:40]!r}"
            if b"access-control-allow-origin" in answer.lower():
                return f"Origin {origin[:40]!r} may read the answer"
        return "" if self.page.stored() <= stored else "a foreign page has stored a file"

    def _outside(self, rng: Random, count: int) -> list[str]:
        """Paths and addresses that no visitor may reach."""
        return rng.sample(
            outside(rng, self.secret, self.page.folder, self.page.port, self.asked.port), count
        )

    def _file_outside(self, rng: Random, detail: list[str]) -> str:
        for path in self._outside(rng, 6):
            road = ROADS[0] if rng.random() < 0.5 else rng.choice(ROADS)
            detail.append(f"{road}{path[:40]}")
            sent = path if rng.random() < 0.5 else quote(path, safe="/")
            answer = self._raw("GET", road + sent, {"Host": "localhost"}, seconds=3)
            if (
                SECRET in answer
                or b"root:x:" in answer
                or b"from __future__" in answer
                or b"PATH=" in answer
            ):
                return f"{road}{path[:60]} is read"
        return ""

    def _job_outside(self, rng: Random, detail: list[str]) -> str:
        for path in self._outside(rng, 3):
            shape = rng.randrange(5)
            detail.append(f"{shape}: {path[:40]}")
            self.requests += 1
            run = self.page.segment if rng.random() < 0.5 else self.page.browse
            event, data = run(video_of(path, shape), _CHOICES)
            if event == "complete" or SECRET.decode() in str(data):
                return f"a job takes {path[:60]}: {event}"
        return ""

    def _web_page(self, rng: Random, detail: list[str]) -> str:
        name = rng.choice([*WEB_PAGES])
        detail.append(name)
        uploaded = self._upload(WEB_PAGES[name] + str(rng.random()).encode(), name, rng)
        if isinstance(uploaded, str):
            return uploaded
        kind, shown = uploaded.get("content-type", ""), uploaded.get("content-disposition", "")
        active = re.search(r"html|svg|xml|javascript|pdf", kind)
        if active and "attachment" not in shown:
            return f"{name} is served as {kind}"
        return (
            "" if uploaded.get("x-content-type-options") == "nosniff" else f"{name} may be sniffed"
        )

    def _too_large(self, rng: Random, detail: list[str]) -> str:
        page = self._running("small")
        before, size = page.stored(), LIMITS["max_megabytes"] * 2**20
        way = rng.randrange(4)
        visitor = f"127.1.{rng.randrange(1, 250)}.1"
        detail.append(("upload", "claims less", "claims more and hangs up", "no upload")[way])
        content = multipart(rng.randbytes(size + rng.choice([1000, 100_000, 5 * size])))
        claimed = (len(content), 1000, 10 * size, len(content))[way]
        path = (
            UPLOAD
            if way < 3
            else rng.choice(["/gradio_api/queue/join", "/gradio_api/call/segment", "/login", "/x"])
        )
        answer = self._raw("POST", path, {**MULTIPART, "Host": "localhost", "Content-Length": str(claimed)}, content,
                           page=page, visitor=visitor, seconds=2)  # fmt: skip
        if b" 200 " in answer[:20]:
            return f"taken: {answer[:20]!r}"
        if not until(lambda: page.stored() <= before, 20):
            return f"{page.stored() - before} bytes more are stored"
        return ""

    def _quota(self, rng: Random, detail: list[str]) -> str:
        """Four visitors at once, on two connections each, with more than their quota and all quotas together."""
        page = self._running(f"quota {rng.random()}")
        taken: dict[str, set[int]] = {}
        size = rng.randrange(100_000, 900_000)
        visitors = [f"127.2.{rng.randrange(1, 250)}.{number}" for number in range(1, 5)]
        content = {visitor: [rng.randbytes(size) for _ in range(20)] for visitor in visitors}
        statuses: list[int] = []

        def visit(visitor: str, numbers: range) -> None:
            for number in numbers:
                statuses.append(
                    page.upload(content[visitor][number], f"{number}.mp4", visitor).status
                )
                if statuses[-1] == 200:
                    taken.setdefault(visitor, set()).add(number)

        threads = [
            threading.Thread(target=visit, args=(visitor, numbers))
            for visitor in visitors
            for numbers in (range(10), range(10, 20))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.requests += len(statuses)
        detail.append(f"{len(statuses)} uploads of {size} bytes, {statuses.count(200)} taken")
        lost = self._harmed(page)
        self._pages.pop(next(name for name, each in self._pages.items() if each is page))
        page.__exit__(None, None, None)
        if set(statuses) - {200, 413}:
            return f"statuses {sorted(set(statuses))}"
        most = max(map(len, taken.values())) * size
        return (
            f"a visitor has stored {most} bytes"
            if most > LIMITS["visitor_megabytes"] * 1e6
            else lost
        )

    def _chunked(self, rng: Random, detail: list[str]) -> str:
        path = rng.choice([UPLOAD, "/gradio_api/call/segment", "/gradio_api/queue/join", "/login"])
        size = rng.choice(
            ["a", "A;x=y", "ffffffffffffffff", "-1", "0x10", "", "zz", "00000000000a"]
        )
        headers = {"Host": "localhost", **rng.choice([MULTIPART, JSON])}
        headers["Transfer-Encoding"] = rng.choice(
            ["chunked", "Chunked", "gzip, chunked", "identity", "chunked, chunked"]
        )
        if rng.random() < 0.4:
            headers["Content-Length"] = "5"
        detail.append(f"{path} {headers['Transfer-Encoding']} {size}")
        before = self.page.stored()
        answer = self._raw(
            "POST", path, headers, f"{size}\r\n0123456789\r\n0\r\n\r\n".encode(), seconds=2
        )
        if answer and not re.match(rb"HTTP/1.1 (4\d\d|501)", answer):
            return f"answered with {answer[:40]!r}"
        return "" if self.page.stored() <= before else "stored"

    def _malformed_form(self, rng: Random, detail: list[str]) -> str:
        (kind, body), header = malformed_form(rng), rng.choice(FORM_TYPES)
        detail.append(f"{kind}, {header[:60]!a}")
        headers = {"Host": "localhost", "Content-Type": header, "Content-Length": str(len(body))}
        visitor = f"127.3.{rng.randrange(1, 250)}.1"
        answer = self._raw("POST", UPLOAD, headers, body, seconds=5, visitor=visitor)
        if not re.match(rb"HTTP/1.1 (200|4\d\d)", answer):
            return f"answered with {answer[:40]!r}"
        escaped = [
            path for path in (self.work / "escaped.mp4", Path("/tmp/escaped.mp4")) if path.exists()
        ]
        return f"written: {escaped}" if escaped else ""

    def _web_socket(self, rng: Random, detail: list[str]) -> str:
        path = rng.choice(
            ["/", "/queue/join", "/gradio_api/queue/join", "/gradio_api/queue/data", "/ws"]
        )
        origin = rng.choice(
            [
                "http://evil.example",
                "null",
                "http://127.0.0.1:1",
                f"http://127.0.0.1:{self.page.port}",
            ]
        )
        detail.append(f"{path} {origin}")
        headers = {
            "Host": f"127.0.0.1:{self.page.port}",
            "Origin": origin,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        answer = self._raw("GET", path, headers, seconds=2)
        foreign = not origin.endswith(str(self.page.port))
        if b" 101 " in answer[:20] or (foreign and b" 403 " not in answer[:20]):
            return f"answered with {answer[:40]!r}"
        return ""

    def _slow(self, rng: Random, detail: list[str]) -> str:
        """Many sockets with half a head, silent or dripping; the page answers meanwhile and closes them."""
        count, drip = rng.choice([50, 200, 400]), rng.random() < 0.5
        half = rng.choice(
            [
                b"",
                b"G",
                b"GET / HTTP/1.1\r\nHost: localhost\r\n",
                b"POST / HTTP/1.1\r\nX: " + b"a" * 3000,
            ]
        )
        second = rng.random() < 0.3
        detail.append(
            f"{count} sockets, {len(half)} bytes, {'dripping' if drip else 'silent'}"
            f"{', after a request' if second else ''}"
        )
        began = time.monotonic()
        held = [self.page.connect() for _ in range(count)]
        self.requests += count
        try:
            for each in held:
                if second:
                    each.sendall(b"HEAD /theme.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    each.recv(65_536)
                each.sendall(half)
                each.setblocking(False)
            asked = time.monotonic()
            if self.page.ask("GET", "/theme.css", seconds=20).status != 200:
                return "the page does not answer"
            detail.append(f"answered in {time.monotonic() - asked:.2f} s")
            alive = held
            while alive and time.monotonic() - began < 4 * _HEAD_SECONDS:
                time.sleep(0.5)
                alive = [each for each in alive if _open(each, b"a" if drip else b"")]
            kept = time.monotonic() - began
            detail.append(f"closed after {kept:.0f} s")
            return f"{len(alive)} sockets are open after {kept:.0f} s" if alive else ""
        finally:
            for each in held:
                each.close()

    def _guess(self, rng: Random, detail: list[str]) -> str:
        page, visitor = self._locked(), f"127.4.{rng.randrange(1, 250)}.{rng.randrange(1, 250)}"
        threads, seconds = rng.choice([1, 8]), 6.0
        began, admitted, waits = time.monotonic(), [0], [0.0]

        def guess(number: int) -> None:
            while time.monotonic() - began < seconds:
                number += 1000
                form = urlencode({"username": "ecmvae", "password": f"guess {number}"}).encode()
                claims = {
                    "X-Forwarded-For": "10.0.0.{}",
                    "Forwarded": "for=10.0.1.{}",
                    "X-Real-IP": "10.0.2.{}",
                }
                headers = _FORM | {name: text.format(number % 250) for name, text in claims.items()}
                answer = page.ask("POST", "/login" + rng.choice(["", "/"]), form, headers, visitor)
                self.requests += 1
                if answer.status == 429:
                    waits[0] = max(waits[0], float(answer.headers["retry-after"]))
                    time.sleep(0.05)
                elif answer.status < 500:
                    admitted[0] += 1

        workers = [threading.Thread(target=guess, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        least = seconds + (50 - admitted[0]) * waits[0]
        self.guesses.append(least)
        detail.append(f"{admitted[0]} guesses in {seconds:g} s by {threads}, wait {waits[0]:g} s")
        if least < 60:
            return f"50 guesses take {least:.0f} s"
        failed = page.log().count(f"failed login from {visitor}\n")
        return "" if failed >= admitted[0] else f"{failed} of {admitted[0]} failures in the log"

    def _without_password(self, rng: Random, detail: list[str]) -> str:
        page = self._locked()
        body, stored = multipart(b"x" * 100), page.stored()
        for method, path in rng.sample(private_requests(self.secret, page.folder), 6):
            detail.append(f"{method} {path[:40]}")
            forged = {"Cookie": "access-token=x; access-token-unsecure=x"}
            cookie = rng.choice([{}, forged, {"Authorization": "Basic ZWNtdmFlOmE="}])
            form = UPLOAD in path
            kind = MULTIPART if form else JSON
            sent = (
                body
                if form
                else b'{"data": [], "session_hash": "a", "event_id": "a", "fn_index": 2}'
            )
            self.requests += 1
            content = sent if method == "POST" else None
            answer = page.ask(method, path, content, {**cookie, **kind}, seconds=20)
            if answer.status < 300 or answer.status >= 500:
                return f"{method} {path[:60]} gets {answer.status}: {answer.body[:60]!r}"
        return "" if page.stored() <= stored else "stored"

    def _json(self, rng: Random, detail: list[str]) -> str:
        path, text = hostile_json(rng)
        detail.append(f"{path} {text[:60]!a}")
        self.requests += 1
        answer = self.page.ask("POST", path, text.encode("utf-8", "surrogatepass"), JSON)
        if answer.status >= 500 and not (
            path.endswith("run/segment") and b'"error"' in answer.body
        ):  # so Gradio refuses
            return f"{answer.status}: {answer.body[:80]!r}"
        if answer.status == 200 and b"event_id" in answer.body and "call/" in path:
            event = json.loads(answer.body)["event_id"]
            after = self.page.ask("GET", f"/gradio_api/call/segment/{event}", seconds=60)
            if b"event: complete" in after.body and "cancel" not in path:
                return f"the job was done: {after.body[:80]!r}"
        return ""

    def _control_characters(self, rng: Random, detail: list[str]) -> str:
        odd = rng.choice(CONTROL_CHARACTERS)
        place = rng.randrange(6)
        detail.append(f"{odd!a} in {('path', 'query', 'name', 'host', 'origin', 'user')[place]}")
        sent, visitor = quote(odd), f"127.5.{rng.randrange(1, 250)}.1"
        if place < 2:
            host = rng.choice(["localhost", "evil.example"])
            self._raw("GET", f"/gradio_api/file={'?' * place}{sent}", {"Host": host}, seconds=3)
        elif place == 2:
            self.requests += 1
            self.page.upload(b"x" * 50, f"{odd.strip()}.mp4", visitor)
        elif place < 5:
            header = {"Host": "localhost", ("Host", "Origin")[place - 3]: f"evil.example{odd}"}
            self._raw("GET", "/", header, seconds=3)
        else:
            form = urlencode({"username": odd, "password": odd}).encode()
            self.requests += 1
            self._locked().ask("POST", "/login", form, _FORM, visitor)
        return ""

    def _broken_http(self, rng: Random, detail: list[str]) -> str:
        kind = rng.choice(["garbage", *BROKEN_HTTP])
        content = BROKEN_HTTP.get(kind) or rng.randbytes(rng.choice([10, 5000]))
        detail.append(kind)
        self.requests += 1
        answer = self.page.raw(content, seconds=3)
        if re.match(rb"HTTP/1.1 5(?!01)", answer):
            return f"answered with {answer[:40]!r}"
        foreign = kind in FOREIGN_HTTP and not re.match(rb"HTTP/1.1 4", answer)
        return f"answered with {answer[:40]!r}" if foreign else ""


def _open(connection: socket.socket, drip: bytes) -> bool:
    """Whether the other side still holds a connection."""
    try:
        if drip:
            connection.send(drip)
        return connection.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
