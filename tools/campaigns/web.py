"""Requests that `ecmvae app` must refuse, to a really running page on this machine.

Foreign names and pages (DNS rebinding), paths and addresses in every place that takes a file, web pages as uploads, too
large, too many and malformed uploads, chunked bodies, web sockets, slow clients, password guesses, large and deep JSON,
control characters, broken HTTP. It is lost when something gets through, a secret beside the page's folder is read, an
address is fetched, more is stored than the limits say, a traceback or a control character stands in the log, or the
page no longer answers. The 50 guesses are not waited for: those of 6 seconds are counted, and the rest is computed from
the last wait, which only grows.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from campaigns.base import Campaign, Trial
from campaigns.page import JSON, MULTIPART, UPLOAD, Page, file_data, multipart, until
from campaigns.processes import Command

_SECRET = b"the secret beside the page"
_PASSWORD = "open sesame"
_LIMITS = {"max_megabytes": 1, "visitor_megabytes": 2, "total_megabytes": 4, "max_seconds": 5}
_CHOICES = ("contour", 0.5, 1, 0.0, False)
_PATHS = ("/", "/config", "/gradio_api/info", "/gradio_api/startup-events", "/theme.css")
_HEAD_SECONDS = 10


class Web(Campaign):
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
        self.requests = 0
        self.guesses: list[float] = []
        self._pages: dict[str, Page] = {}
        self._read: dict[int, int] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Start the page, a file that it must not read and a server that it must not ask."""
        Command(["--version"], self.work / "imports", self.work / "temporary").wait()
        self.secret = self.work / "secret.txt"
        self.secret.write_bytes(_SECRET)
        self.asked = _Listener()
        self._held.enter_context(self.asked)
        self.page = self._running("page")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the pages."""
        self._held.close()

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

    def _running(self, name: str, *options: str) -> Page:
        """A page of this name, started once."""
        if name not in self._pages:
            limits = [word for key, value in _LIMITS.items() for word in (f"--{key}", str(value))]
            page = Page(self.work, [*limits, "--allowed_hosts", "[page.example]", *options])
            self._pages[name] = self._held.enter_context(page)
        return self._pages[name]

    def _locked(self) -> Page:
        word = self.work / "word.txt"
        word.write_text(_PASSWORD)
        return self._running("with a password", "--password_file", str(word))

    def _harmed(self, page: Page) -> str:
        """What has become of a page: its log, its answers, its folder."""
        log = page.log()
        new, self._read[page.port] = log[self._read.get(page.port, 0) :], len(log)
        if "Traceback" in new:
            return f"traceback in the log: {new.strip().splitlines()[-1][:200]}"
        odd = [line for line in new.splitlines() if not line.isprintable() or line.startswith("FORGED")]
        if odd:
            return f"in the log: {odd[0][:100]!a}"
        if not page.command.alive():
            return "the page has ended"
        answer = page.ask("GET", "/", seconds=20)
        if answer.status != 200:
            return f"the page answers {answer.status}"
        if page.stored() > _LIMITS["total_megabytes"] * 1_000_000 + 100_000:  # and a job's results
            return f"{page.stored()} bytes are stored"
        return ""

    def _foreign_host(self, rng: Random, detail: list[str]) -> str:
        port = self.page.port
        names = (
            "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:80", f"evil.example:{port}",
            "page.example.evil.example", "sub.page.example", "xpage.example", "10.0.0.1", "0.0.0.0", "[::2]", "0x7f000001",
            "2130706433", "127.1", "localhost@evil.example", f"evil.example#localhost:{port}", "", " ", "[", "]:1", "a" * 3000,
        )  # fmt: skip
        for host in rng.sample(names, 6):
            path = rng.choice(_PATHS)
            detail.append(host[:40])
            answer = self._raw("GET", path, {"Host": host, "Origin": f"http://{host}"})
            if not answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")):
                return f"Host {host[:40]!r} gets {path}: {answer[:40]!r}"
            if b"access-control-allow-origin" in answer.lower():
                return f"Host {host[:40]!r} may read the answer"
        both = self._raw("GET", "/config", {"Host": "localhost", "host": "evil.example"})  # two Host headers
        return "" if both.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")) else f"two hosts: {both[:40]!r}"

    def _foreign_page(self, rng: Random, detail: list[str]) -> str:
        stored, port = self.page.stored(), self.page.port
        origins = (
            "http://evil.example", f"http://evil.example:{port}", "null", "http://127.0.0.1:1", "http://localhost", "file://",
            f"http://127.0.0.1.evil.example:{port}", "chrome-extension://abc", f"http://[::2]:{port}", "http://127.0.0.1:x",
            f"http://evil.example/http://127.0.0.1:{port}", f"http://evil.example@x:{port}", "", "http://", "a" * 5000,
        )  # fmt: skip
        for origin in rng.sample(origins, 5):
            detail.append(origin[:40])
            method, path = rng.choice(
                [("POST", UPLOAD), ("OPTIONS", UPLOAD), ("POST", "/gradio_api/call/segment"), ("GET", "/config")]
            )
            body = {UPLOAD: multipart(b"x" * 1000)}.get(path, b'{"data": []}') if method == "POST" else b""
            kind = rng.choice([MULTIPART, {"Content-Type": "text/plain"}])
            own = {"Host": rng.choice([f"127.0.0.1:{port}", f"localhost:{port}", "page.example"])}
            answer = self._raw(method, path, {**own, **kind, "Origin": origin, "Content-Length": str(len(body))}, body)
            if not answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")):
                return f"Origin {origin[:40]!r} gets {method} {path}: {answer[:40]!r}"
            if b"access-control-allow-origin" in answer.lower():
                return f"Origin {origin[:40]!r} may read the answer"
        return "" if self.page.stored() <= stored else "a foreign page has stored a file"

    def _outside(self, rng: Random) -> list[str]:
        """Paths and addresses that no visitor may reach."""
        up, secret = "../" * rng.randrange(1, 12), str(self.secret)
        package = Path(__file__).parents[2] / "ecmvae"
        address = f"http://127.0.0.1:{self.asked.port}/x.mp4"
        return [
            secret, f"{up}{secret.lstrip('/')}", f"/{up}{secret}", f"file://{secret}", f"//{secret}", f"./{secret}", f"{secret}%00.mp4",
            f"{self.page.folder}/../secret.txt", f"{self.page.folder}/%2e%2e/secret.txt", f"/proc/self/root{secret}", quote(secret, safe=""),
            quote(quote(secret, safe=""), safe=""), "/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "~/.bashrc", ".", "/", "",
            str(package / "cli.py"), str(self.work / "tiny-model" / "config.yaml"), "..\\..\\secret.txt", "\\\\127.0.0.1\\share",
            address, address.replace("http", "HTTP"), address.replace("127.0.0.1", "2130706433"), address.replace("127.0.0.1", "[::ffff:7f00:1]"),
            f"http://localhost:{self.page.port}/config", f"gopher://127.0.0.1:{self.asked.port}/", f"concat:{secret}", f"subfile,,start,0,,:{secret}",
            "data:video/mp4;base64,AAAA", "a" * 5000, "pipe:0", "rtsp://127.0.0.1:1/", "\x00", "/dev/zero", "/dev/stdin",
        ]  # fmt: skip

    def _file_outside(self, rng: Random, detail: list[str]) -> str:
        roads = ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/proxy=", "/static/", "/assets/", "/custom_component/",
                 "/gradio_api/stream/", "/gradio_api/video/", "/gradio_api/deep_link/", "/gradio_api/vibe-code/", "/svelte/", "/pwa_icon/",
                 "/gradio_api/custom_component/x/client/component/", "/gradio_api/upload_progress?upload_id=")  # fmt: skip
        for path in rng.sample(self._outside(rng), 6):
            road = roads[0] if rng.random() < 0.5 else rng.choice(roads)
            detail.append(f"{road}{path[:40]}")
            sent = path if rng.random() < 0.5 else quote(path, safe="/")
            answer = self._raw("GET", road + sent, {"Host": "localhost"}, seconds=3)
            if _SECRET in answer or b"root:x:" in answer or b"from __future__" in answer or b"PATH=" in answer:
                return f"{road}{path[:60]} is read"
        return ""

    def _job_outside(self, rng: Random, detail: list[str]) -> str:
        for path in rng.sample(self._outside(rng), 3):
            shape = rng.randrange(5)
            video: object = (
                file_data(path), file_data("x.mp4", url=path), {"video": file_data(path)},
                {"path": path, "url": path, "is_stream": True, "meta": {"_type": "gradio.FileData"}}, path,
            )[shape]  # fmt: skip
            detail.append(f"{shape}: {path[:40]}")
            self.requests += 1
            run = self.page.segment if rng.random() < 0.5 else self.page.browse
            event, data = run(video, _CHOICES)
            if event == "complete" or _SECRET.decode() in str(data):
                return f"a job takes {path[:60]}: {event}"
        return ""

    def _web_page(self, rng: Random, detail: list[str]) -> str:
        script = b"<script>alert(1)</script>"
        name, content = rng.choice([
            ("a.html", b"<html>" + script), ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg">' + script + b"</svg>"), ("a.xhtml", script),
            ("a.mp4", b"<html>" + script), ("a.js", b"alert(1)"), ("a.htm", script), ("a.xml", b"<?xml version='1.0'?>" + script), ("a", script),
            ("a.pdf", b"%PDF-1.4"), ("a.mht", script), ("a.shtml", script), ("a.mp4.html", script),
        ])  # fmt: skip
        detail.append(name)
        uploaded = self._upload(content + str(rng.random()).encode(), name, rng)
        if isinstance(uploaded, str):
            return uploaded
        kind, shown = uploaded.get("content-type", ""), uploaded.get("content-disposition", "")
        active = re.search(r"html|svg|xml|javascript|pdf", kind)
        if active and "attachment" not in shown:
            return f"{name} is served as {kind}"
        return "" if uploaded.get("x-content-type-options") == "nosniff" else f"{name} may be sniffed"

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

    def _too_large(self, rng: Random, detail: list[str]) -> str:
        page = self._running("quota")
        before, size = page.stored(), int(_LIMITS["max_megabytes"] * 1e6)
        way = rng.randrange(4)
        visitor = f"127.1.{rng.randrange(1, 250)}.1"
        detail.append(("upload", "claims less", "claims more and hangs up", "no upload")[way])
        content = multipart(rng.randbytes(size + rng.choice([1000, 100_000, 5 * size])))
        claimed = (len(content), 1000, 10 * size, len(content))[way]
        path = UPLOAD if way < 3 else rng.choice(["/gradio_api/queue/join", "/gradio_api/call/segment", "/login", "/x"])
        answer = self._raw("POST", path, {**MULTIPART, "Host": "localhost", "Content-Length": str(claimed)}, content,
                           page=page, visitor=visitor, seconds=2)  # fmt: skip
        if b" 200 " in answer[:20]:
            return f"taken: {answer[:20]!r}"
        if not until(lambda: page.stored() <= before, 20):
            return f"{page.stored() - before} bytes more are stored"
        return ""

    def _quota(self, rng: Random, detail: list[str]) -> str:
        """Many visitors at once, each with more than the quota."""
        page = self._running("quota")
        taken: dict[str, int] = {}
        size = rng.randrange(100_000, 900_000)
        visitors = [f"127.2.{rng.randrange(1, 250)}.{number}" for number in range(1, 5)]
        content = {(visitor, number): rng.randbytes(size) for visitor in visitors for number in range(5)}
        statuses: list[int] = []

        def visit(visitor: str) -> None:
            for number in range(5):
                answer = page.upload(content[visitor, number], f"{number}.mp4", visitor)
                statuses.append(answer.status)
                if answer.status == 200:
                    taken[visitor] = taken.get(visitor, 0) + size

        threads = [threading.Thread(target=visit, args=(visitor,)) for visitor in visitors for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.requests += len(statuses)
        detail.append(f"{len(statuses)} uploads of {size} bytes, {statuses.count(200)} taken")
        if set(statuses) - {200, 413}:
            return f"statuses {sorted(set(statuses))}"
        distinct = sum(size for _ in {path.name for path in page.folder.rglob("*.mp4")})
        return f"{distinct} bytes by name" if page.stored() > _LIMITS["total_megabytes"] * 1e6 else ""

    def _chunked(self, rng: Random, detail: list[str]) -> str:
        path = rng.choice([UPLOAD, "/gradio_api/call/segment", "/gradio_api/queue/join", "/login"])
        size = rng.choice(["a", "A;x=y", "ffffffffffffffff", "-1", "0x10", "", "zz", "00000000000a"])
        headers = {"Host": "localhost", **rng.choice([MULTIPART, JSON])}
        headers["Transfer-Encoding"] = rng.choice(
            ["chunked", "Chunked", "gzip, chunked", "identity", "chunked, chunked"]
        )
        if rng.random() < 0.4:
            headers["Content-Length"] = "5"
        detail.append(f"{path} {headers['Transfer-Encoding']} {size}")
        before = self.page.stored()
        answer = self._raw("POST", path, headers, f"{size}\r\n0123456789\r\n0\r\n\r\n".encode(), seconds=2)
        if answer and not re.match(rb"HTTP/1.1 (4\d\d|501)", answer):
            return f"answered with {answer[:40]!r}"
        return "" if self.page.stored() <= before else "stored"

    def _malformed_form(self, rng: Random, detail: list[str]) -> str:
        whole = multipart(rng.randbytes(200), "x.mp4")
        names = ["../../escaped.mp4", "/tmp/escaped.mp4", "a" * 5000 + ".mp4", "a\x00b.mp4", "..", ".", "", "con", "a/b\\c.mp4", "\udcff.mp4",
                 "\x1b[31mred.mp4", "FORGED\u2028x.mp4", "🐕" * 300]  # fmt: skip
        cut, flip = rng.randrange(len(whole)), rng.randrange(len(whole))
        kind, body = rng.choice([
            ("name", multipart(b"x", rng.choice(names))), ("cut", whole[:cut]), ("empty", b""), ("no form", b"hello"),
            ("flipped", whole[:flip] + bytes([whole[flip] ^ (1 << rng.randrange(8))]) + whole[flip + 1 :]),
            ("many parts", multipart(b"x") * rng.choice([30, 3000])), ("long header", whole.replace(b"form-data", b"f" * 30_000)),
            ("no name", whole.replace(b"filename=", b"")), ("twice", whole.replace(b"\r\n\r\n", b"\r\nContent-Disposition: form-data\r\n\r\n")),
            ("boundary", b"--" + b"X" * 5000 + whole), ("garbage", rng.randbytes(3000)), ("bare", whole.replace(b"\r\n", b"\n")),
        ])  # fmt: skip
        types = ["multipart/form-data; boundary=XX"] * 6 + ["multipart/form-data", "multipart/form-data; boundary=", "text/plain",
                 "multipart/form-data; boundary=" + "X" * 300, "multipart/mixed; boundary=XX", "application/json", "", "multipart/form-data; boundary=\xff",
                 "multipart/form-data; charset=nonsense; boundary=XX"]  # fmt: skip
        header = rng.choice(types)
        detail.append(f"{kind}, {header[:60]!a}")
        headers = {"Host": "localhost", "Content-Type": header, "Content-Length": str(len(body))}
        visitor = f"127.3.{rng.randrange(1, 250)}.1"
        answer = self._raw("POST", UPLOAD, headers, body, seconds=5, visitor=visitor)
        if not re.match(rb"HTTP/1.1 (200|4\d\d)", answer):
            return f"answered with {answer[:40]!r}"
        escaped = [path for path in (self.work / "escaped.mp4", Path("/tmp/escaped.mp4")) if path.exists()]
        return f"written: {escaped}" if escaped else ""

    def _web_socket(self, rng: Random, detail: list[str]) -> str:
        path = rng.choice(["/", "/queue/join", "/gradio_api/queue/join", "/gradio_api/queue/data", "/ws"])
        origin = rng.choice(["http://evil.example", "null", "http://127.0.0.1:1", f"http://127.0.0.1:{self.page.port}"])
        detail.append(f"{path} {origin}")
        headers = {"Host": f"127.0.0.1:{self.page.port}", "Origin": origin, "Upgrade": "websocket", "Connection": "Upgrade",
                   "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
        answer = self._raw("GET", path, headers, seconds=2)
        foreign = not origin.endswith(str(self.page.port))
        if b" 101 " in answer[:20] or (foreign and b" 403 " not in answer[:20]):
            return f"answered with {answer[:40]!r}"
        return ""

    def _slow(self, rng: Random, detail: list[str]) -> str:
        """Many sockets with half a head, silent or dripping; the page answers meanwhile and closes them."""
        count, drip = rng.choice([50, 200, 400]), rng.random() < 0.5
        half = rng.choice(
            [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"POST / HTTP/1.1\r\nX: " + b"a" * 3000]
        )
        second = rng.random() < 0.3
        detail.append(
            f"{count} sockets, {len(half)} bytes, {'dripping' if drip else 'silent'}, {'second' if second else 'first'} request"
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
                headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": f"10.0.0.{number % 250}",
                           "Forwarded": f"for=10.0.1.{number % 250}", "X-Real-IP": f"10.0.2.{number % 250}"}  # fmt: skip
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
        for method, path in rng.sample([
            ("GET", "/config"), ("GET", "/gradio_api/info"), ("POST", UPLOAD), ("GET", f"/gradio_api/file={self.secret}"), ("GET", "/gradio_api/queue/status"),
            ("POST", "/gradio_api/call/segment"), ("POST", "/gradio_api/queue/join"), ("GET", "/gradio_api/queue/data?session_hash=a"), ("GET", "/config/"),
            ("POST", "/gradio_api/run/segment"), ("POST", "/gradio_api/api/predict"), ("POST", "/gradio_api/component_server"), ("POST", UPLOAD + "/"),
            ("GET", "/gradio_api/file=" + str(page.folder)), ("POST", "/gradio_api/cancel"), ("POST", "/gradio_api/stream/x"), ("GET", "//config"),
        ], 6):  # fmt: skip
            detail.append(f"{method} {path[:40]}")
            cookie = rng.choice(
                [{}, {"Cookie": "access-token=x; access-token-unsecure=x"}, {"Authorization": "Basic ZWNtdmFlOmE="}]
            )
            kind = MULTIPART if UPLOAD in path else JSON
            sent = (
                (body if UPLOAD in path else b'{"data": [], "session_hash": "a", "event_id": "a", "fn_index": 2}')
                if method == "POST"
                else None
            )
            self.requests += 1
            answer = page.ask(method, path, sent, {**cookie, **kind}, seconds=20)
            if answer.status < 300 or answer.status >= 500:
                return f"{method} {path[:60]} gets {answer.status}: {answer.body[:60]!r}"
        return "" if page.stored() <= stored else "stored"

    def _json(self, rng: Random, detail: list[str]) -> str:
        deep, long = rng.choice([100, 100_000]), rng.choice([10, 900_000])
        values = [
            "[" * deep + "]" * deep, '{"a":' * (deep // 6) + "1" + "}" * (deep // 6), "9" * min(long, 5000), "1e999", "NaN", "-Infinity",
            '"' + "a" * long + '"', "null", "true", "{}", '"\\ud800"', '{"path": {"path": 1}}', "[1" + ",1" * (long // 2) + "]", "", "{", '"\x01"', "1.5",
            '{"path": "x", "meta": {"_type": 7}}', '{"path": null, "meta": {"_type": "gradio.FileData"}}', '{"__type__": "update"}',
        ]  # fmt: skip
        value = rng.choice(values)
        numbers = ['"contour"', "0.5", "1", "0.0", "false"]
        if rng.random() < 0.4:
            numbers[rng.randrange(5)] = rng.choice(
                ["1e999", "NaN", "-1", '"x"', "null", "[]", "{}", "100000000", '"heatmap\x00"']
            )
        shapes = [
            f'{{"data": [{value}, {", ".join(numbers)}]}}', f'{{"data": {value or 0}}}', value,
            f'{{"data": [null, {", ".join(numbers)}], "session_hash": {value or 0}, "fn_index": 2}}',
            f'{{"data": [], "fn_index": {value or 0}, "session_hash": "a"}}', f'{{"event_id": {value or 0}, "session_hash": "a", "fn_index": 0}}',
        ]  # fmt: skip
        text = rng.choice(shapes)
        path = "/gradio_api/" + rng.choice(
            [
                "call/segment",
                "call/cancel",
                "queue/join",
                "cancel",
                "component_server",
                "reset",
                "run/segment",
                "call/nothing",
            ]
        )
        detail.append(f"{path} {text[:60]!a}")
        self.requests += 1
        answer = self.page.ask("POST", path, text.encode("utf-8", "surrogatepass"), JSON)
        if answer.status >= 500:
            return f"{answer.status}: {answer.body[:80]!r}"
        if answer.status == 200 and b"event_id" in answer.body and "call/" in path:
            event = json.loads(answer.body)["event_id"]
            after = self.page.ask("GET", f"/gradio_api/call/segment/{event}", seconds=60)
            if b"event: complete" in after.body and "cancel" not in path:
                return f"the job was done: {after.body[:80]!r}"
        return ""

    def _control_characters(self, rng: Random, detail: list[str]) -> str:
        odd = rng.choice(
            [
                "\x1b[31mred",
                "\r\nFORGED line",
                "\nFORGED",
                "\x00",
                "\x7f",
                "\u202eevil",
                "\x9b31m",
                "\x1b]0;title\x07",
                "\u2028FORGED",
            ]
        )
        place = rng.randrange(6)
        detail.append(f"{odd!a} in {('path', 'query', 'name', 'host', 'origin', 'user')[place]}")
        sent = quote(odd)
        if place < 2:
            mark = "?" if place else ""
            self._raw(
                "GET", f"/gradio_api/file={mark}{sent}", {"Host": rng.choice(["localhost", "evil.example"])}, seconds=3
            )
        elif place == 2:
            self.requests += 1
            self.page.upload(
                b"x" * 50, odd.replace("\r", "").replace("\n", "") + ".mp4", f"127.5.{rng.randrange(1, 250)}.1"
            )
        elif place < 5:
            header = {"Host": "localhost", ("Host", "Origin")[place - 3]: f"evil.example{odd}"}
            self._raw("GET", "/", header, seconds=3)
        else:
            form = urlencode({"username": odd, "password": odd}).encode()
            self.requests += 1
            self._locked().ask(
                "POST",
                "/login",
                form,
                {"Content-Type": "application/x-www-form-urlencoded"},
                f"127.6.{rng.randrange(1, 250)}.1",
            )
        return ""

    def _broken_http(self, rng: Random, detail: list[str]) -> str:
        kind, content = rng.choice([
            ("garbage", rng.randbytes(rng.choice([10, 5000]))), ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500)),
            ("long head", b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000), ("many headers", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"),
            ("long target", b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"), ("no host", b"GET / HTTP/1.1\r\n\r\n"),
            ("HTTP/0.9", b"GET /\r\n\r\n"), ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ("method", b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("absolute", b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"), ("CONNECT", b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("smuggled", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /config HTTP/1.1\r\n\r\n"),
            ("two lengths", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"), ("NUL", b"GET /\x00 HTTP/1.1\r\n\r\n"),
            ("length", b"POST " + UPLOAD.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n"), ("TRACE", b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("huge length", b"POST " + UPLOAD.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n"),
            ("digits", b"POST " + UPLOAD.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"),
            ("pipelined", b"GET /theme.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200), ("bytes in the path", b"GET /%ff%fe%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"), ("folded", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n"),
        ])  # fmt: skip
        detail.append(kind)
        self.requests += 1
        answer = self.page.raw(content, seconds=3)
        if re.match(rb"HTTP/1.1 5(?!01)", answer):
            return f"answered with {answer[:40]!r}"
        foreign = kind in ("no host", "absolute", "CONNECT") and not re.match(rb"HTTP/1.1 4", answer)
        return f"answered with {answer[:40]!r}" if foreign else ""

    def _raw(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, page: Page | None = None,
        visitor: str = "127.0.0.1", seconds: float = 5.0,
    ) -> bytes:  # fmt: skip
        """One request whose every byte is ours; the start of the answer."""
        self.requests += 1
        lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        head = f"{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"
        return (page or self.page).raw(head.encode("utf-8", "surrogateescape") + body, visitor, seconds)


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


class _Listener:
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
