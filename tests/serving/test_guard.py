"""What the page refuses, over HTTP: one running page with a password, small quotas and clocks that the tests turn."""

import http.client
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from listening_model import ListeningModel

from ecmvae.serving.app import build_page, launch, own_folder
from ecmvae.serving.guard import AllowedHosts
from ecmvae.serving.quotas import LoginThrottle, UploadStore, visitor_of
from ecmvae.serving.service import Limits, PredictionService, SessionStore

LIMITS = Limits(megabytes=1, visitor_megabytes=1, total_megabytes=2)
PASSWORD = "open sesame"
UPLOAD = "/gradio_api/upload"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=XX"}


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Site:
    """A running page."""

    folder: Path
    uploads: UploadStore
    upload_clock: Clock
    login_clock: Clock
    port: int = 0
    cookie: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        visitor: str = "127.0.0.1",
    ) -> Answer:
        """One request from one of this machine's own addresses."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(visitor, 0)
        )
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()

    def login(self, password: str, visitor: str, **headers: str) -> Answer:
        form = urlencode({"username": "ecmvae", "password": password}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", "/login", form, {**kind, **headers}, visitor)

    def upload(self, content: bytes, visitor: str = "127.0.0.1", **headers: str) -> Answer:
        return self.ask(
            "POST", UPLOAD, multipart(content), {**MULTIPART, **self.cookie, **headers}, visitor
        )

    def stored(self) -> list[bytes]:
        """First bytes of the uploads on disk."""
        return sorted(path.read_bytes()[:1] for path in self.folder.rglob("*.bin"))


def multipart(content: bytes) -> bytes:
    head = b'--XX\r\nContent-Disposition: form-data; name="files"; filename="x.bin"\r\n\r\n'
    return head + content + b"\r\n--XX--\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    uploads_at, logins_at = Clock(), Clock()
    with own_folder() as folder:
        uploads = UploadStore(LIMITS, uploads_at, folder)
        service = PredictionService(ListeningModel(32, 2), "cpu", LIMITS)
        page = build_page(service, LIMITS, SessionStore(folder), uploads)
        site = Site(folder, uploads, uploads_at, logins_at)
        throttle = LoginThrottle(logins_at)
        hosts = ["page.example"]
        address = launch(
            page, LIMITS, uploads, allowed_hosts=hosts, password=PASSWORD, throttle=throttle
        )
        site.port = urlsplit(address).port or 0
        cookies = SimpleCookie()
        for line in site.login(PASSWORD, "127.0.0.1").headers.get_all("set-cookie") or []:
            cookies.load(line)
        site.cookie = {
            "Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
        }
        yield site
        page.close(verbose=False)


@pytest.fixture
def site(running: Site) -> Site:
    """The page without uploads and without failed logins."""
    running.login_clock.now += 1000
    # the server may still be storing what the test before has sent
    deadline = time.monotonic() + 10
    while True:
        running.upload_clock.now += 1000
        running.uploads.delete_unused()
        if not running.stored() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert not running.stored()
    return running


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST", "[::1]:{}", "page.example", "127.0.0.1"]
)
def test_own_names_pass(site: Site, host: str) -> None:
    assert site.ask("GET", "/", headers={"Host": host.format(site.port)}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{}",
        "127.0.0.1.evil.example",
        "sub.page.example",
        "10.0.0.1",
        "[",
        "",
    ],
)
def test_other_names_are_refused(site: Site, host: str, caplog: pytest.LogCaptureFixture) -> None:
    host = host.format(site.port)
    with caplog.at_level(logging.WARNING, "ecmvae"):
        answer = site.ask("GET", "/", headers={"Host": host, "Origin": f"http://{host}"})
    assert answer.status == 403
    assert answer.text == f"this page is not {host!r}; --allowed_hosts adds a name\n"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    (line,) = caplog.messages
    assert line == f"refused GET '/' from 127.0.0.1: {answer.text.strip()}"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "127.0.0.1:{}"),
        ("http://evil.example:{}", "page.example"),  # Gradio's own check lets any page through here
        ("http://127.0.0.1:1", "127.0.0.1:{}"),  # another program's page on this machine
        ("http://127.0.0.1:x", "127.0.0.1:{}"),
        (
            "http://localhost",
            "page.example",
        ),  # another program's page on the visitor's machine, both on port 80
        ("null", "127.0.0.1:{}"),
    ],
)
def test_requests_of_other_pages_are_refused(site: Site, origin: str, host: str) -> None:
    headers = {"Origin": origin.format(site.port), "Host": host.format(site.port)}
    asked = {**headers, "Access-Control-Request-Method": "POST"}
    for answer in (site.upload(b"a", **headers), site.ask("OPTIONS", UPLOAD, headers=asked)):
        assert answer.status == 403
        assert answer.text.startswith(
            f"requests of the page {headers['Origin']!r} are not accepted"
        )
        assert answer.text.count("\n") == 1
        assert "access-control-allow-origin" not in answer.headers
    assert not site.stored()


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:{}", "127.0.0.1:{}"),
        ("http://localhost:{}", "localhost:{}"),
        ("https://page.example", "127.0.0.1:{}"),  # behind a proxy
    ],
)
def test_requests_of_the_page_pass(site: Site, origin: str, host: str) -> None:
    answer = site.upload(b"a", Origin=origin.format(site.port), Host=host.format(site.port))
    assert (answer.status, site.stored()) == (200, [b"a"])


@pytest.mark.parametrize(
    ("listening", "name", "passes"),
    [
        ("0.0.0.0", "192.168.1.5:7860", True),
        ("::", "[fe80::1]:7860", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", "evil.example", False),
        ("192.168.1.5", "192.168.1.5:7860", True),
        ("192.168.1.5", "192.168.1.6:7860", False),
        ("127.0.0.1", "192.168.1.5", False),
    ],
)
def test_hosts_follow_the_address(listening: str, name: str, passes: bool) -> None:
    assert AllowedHosts(listening).host(name) == passes


def test_quota_of_a_visitor_and_of_all(site: Site) -> None:
    assert [site.upload(letter * 400_000).status for letter in (b"a", b"b")] == [200, 200]
    refused = site.upload(b"c" * 400_000)
    assert refused.status == 413
    assert refused.text.startswith(
        "a visitor may store 1 MB, and 0.8 MB of yours are here: this upload of 0.4 MB is"
    )
    assert refused.text.count("\n") == 1
    # another visitor is not concerned
    assert site.upload(b"d" * 900_000, "127.0.0.2").status == 200
    full = site.upload(b"e" * 400_000, "127.0.0.3")
    assert full.status == 413
    assert full.text.startswith("this page stores 2 MB of uploads, and 1.7 MB are taken")
    assert site.stored() == [b"a", b"b", b"d"]

    site.upload_clock.now += 800
    site.uploads.use(
        next(path for path in site.folder.rglob("*.bin") if path.read_bytes()[:1] == b"b")
    )
    assert site.upload(b"e" * 100_000, "127.0.0.3").status == 200
    site.upload_clock.now += 101  # a and d are too old now; b is used, e is young
    assert site.upload(b"f" * 500_000).status == 200
    assert site.stored() == [b"b", b"e", b"f"]
    next(
        path for path in site.folder.rglob("*.bin") if path.read_bytes()[:1] == b"b"
    ).unlink()  # as Gradio does


def test_the_same_file_counts_once(site: Site) -> None:
    assert [site.upload(b"a" * 400_000).status for _ in range(2)] == [200, 200]
    assert site.upload(b"b" * 400_000).status == 200
    assert site.stored() == [b"a", b"b"]


def test_an_upload_cut_short_leaves_nothing(site: Site) -> None:
    body = multipart(b"a" * 500_000)
    for _ in range(3):  # each within the quota
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
            lines = {
                **MULTIPART,
                **site.cookie,
                "Host": "localhost",
                "Content-Length": str(len(body)),
            }
            head = f"POST {UPLOAD} HTTP/1.1\r\n" + "".join(
                f"{name}: {text}\r\n" for name, text in lines.items()
            )
            raw.sendall(head.encode() + b"\r\n" + body[:300_000])
            until(lambda: any(path.is_file() for path in site.folder.iterdir()))
        until(lambda: not any(path.is_file() for path in site.folder.iterdir()))
    assert site.upload(b"b" * 900_000).status == 200  # nothing is reserved any more


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["another", "files"])
def test_forms_of_no_browser_leave_nothing(
    site: Site, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file under another name, and a file beside a part without a file name, on which Gradio fails."""
    body = multipart(b"a" * 500_000).replace(b'"files"', f'"{name}"'.encode())
    if name == "files":
        body = body.replace(
            b"--XX--", b'--XX\r\nContent-Disposition: form-data; name="files"\r\n\r\na\r\n--XX--'
        )
    for _ in range(3):  # each within the quota
        answer = site.ask("POST", UPLOAD, body, {**MULTIPART, **site.cookie})
        assert answer.status == (400 if name == "files" else 200)
        until(lambda: not any(path.is_file() for path in site.folder.iterdir()))
    assert not site.stored()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["/static/" + "a" * 5000, "/static/%00", "/static" + "/a" * 2000])
def test_addresses_that_no_file_could_have(
    site: Site, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = site.ask("GET", path)
    assert (answer.status, answer.text) == (404, "page not found\n")
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_no_upload_is_small(site: Site) -> None:
    large = site.ask(
        "POST", "/gradio_api/queue/join", b" " * 1_000_001, {"Content-Type": "application/json"}
    )
    assert (large.status, "1000000 are the limit" in large.text) == (413, True)
    chunked = site.ask("POST", UPLOAD, iter([b"a"]), {**MULTIPART, **site.cookie})  # type: ignore[arg-type]
    assert (chunked.status, chunked.text) == (411, "requests need a Content-Length\n")
    recording = site.ask(
        "POST", "/gradio_api/process_recording", multipart(b"a"), {**MULTIPART, **site.cookie}
    )
    assert recording.status == 403
    assert not site.stored()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["proxy=http://127.0.0.1:1/", "api/segment", "stream/a", "component_server"]
)
def test_addresses_that_the_page_does_not_need(site: Site, method: str, path: str) -> None:
    answer = site.ask(method, f"/gradio_api/{path}", headers=site.cookie)
    assert (answer.status, answer.text) == (403, "this page does not need that address\n")


def test_who_has_not_logged_in_sends_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Gradio itself lets anyone cancel a job whose numbers are known."""
    body, headers = (
        b'{"session_hash": "a", "fn_index": 0, "event_id": "b"}',
        {"Content-Type": "application/json"},
    )
    for cookie in (
        {},
        {"Cookie": "access-token-unsecure-a=b"},
        {"Cookie": "access-token-unsecure-a="},
    ):
        with caplog.at_level(logging.WARNING, "ecmvae"):
            answer = site.ask("POST", "/gradio_api/cancel", body, headers | cookie)
        assert (answer.status, answer.text) == (401, "log in first\n")
    assert caplog.messages == ["refused POST '/gradio_api/cancel' from 127.0.0.1: log in first"] * 3
    assert site.ask("POST", "/gradio_api/cancel", body, headers | site.cookie).status == 200


@pytest.mark.parametrize(
    "value", ["-Infinity", "1e999", "NaN", r'"\ud800"', "[" * 100_000, "9" * 5000, "", '"\\0"', "{"]
)
def test_json_that_no_browser_sends(
    site: Site, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Gradio alone answers 500 to some, with a traceback in the log."""
    headers = {"Content-Type": "application/json", **site.cookie}
    body = f'{{"data": [], "session_hash": "a", "fn_index": {value}}}'.encode()
    answer = site.ask("POST", "/gradio_api/queue/join", body, headers)
    assert answer.status == 400
    assert (
        answer.text.startswith("this request is not valid JSON")
        or "JSON compliant" in answer.text
        or "utf" in answer.text
    )
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "video", ['{"path": "/dev/zero", "meta": {"_type": "gradio.FileData"}}', '"/etc/passwd"', "7"]
)
def test_a_job_of_what_was_not_uploaded_is_one_line(
    site: Site, video: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the log as well: Gradio alone prints a traceback."""
    headers = {"Content-Type": "application/json", **site.cookie}
    call = "/gradio_api/call/segment"
    with caplog.at_level(logging.WARNING, "ecmvae"):
        started = site.ask(
            "POST", call, f'{{"data": [{video}, "contour", 0.5, 1, 0.0, false]}}'.encode(), headers
        )
        answer = site.ask(
            "GET", f"{call}/{json.loads(started.text)['event_id']}", headers=site.cookie
        )
    assert answer.text.startswith("event: error")
    assert "These are not inputs of this page." in answer.text
    (line,) = caplog.messages
    assert line.startswith("refused a job: ")
    assert line.isprintable()
    assert "Traceback" not in capfd.readouterr().err


def test_guesses_are_slowed_down_and_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    start, guesses, waits = site.login_clock.now, 0, []
    with caplog.at_level(logging.WARNING, "ecmvae"):
        while guesses < 50:
            # Whatever address a visitor claims to forward, it is still the same visitor.
            answer = site.login(
                f"guess {guesses}", "127.0.0.4", **{"X-Forwarded-For": f"10.0.0.{guesses}"}
            )
            if answer.status == 429:
                waits.append(int(answer.headers["retry-after"]))
                assert answer.text == f"too many failed logins: try again in {waits[-1]} s\n"
                assert site.login(PASSWORD, "127.0.0.4").status == 429
                site.login_clock.now += waits[-1]
            else:
                assert answer.status == 400
                guesses += 1
    assert waits == [2, 4, 8, 16, 32] + [60] * 40
    assert site.login_clock.now - start == sum(waits) > 60
    assert caplog.messages.count("failed login from 127.0.0.4") == 50
    assert "guess" not in caplog.text
    assert site.login(PASSWORD, "127.0.0.5").status == 200  # others do not wait
    site.login_clock.now += 60
    assert site.login(PASSWORD, "127.0.0.4").status == 200
    assert site.login("wrong", "127.0.0.4").status == 400  # forgotten


def test_a_visitor_is_an_address_or_a_network() -> None:
    assert (
        visitor_of("2001:db8::1") == visitor_of("2001:db8::ffff:1") != visitor_of("2001:db8:0:1::1")
    )
    assert visitor_of("10.0.0.1") != visitor_of("10.0.0.2")
    assert visitor_of("::ffff:10.0.0.1") != visitor_of("::ffff:10.0.0.2")


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_response_has_the_headers(site: Site, host: str) -> None:
    headers = site.ask("GET", "/", headers={"Host": host}).headers
    assert headers.get_all("x-content-type-options") == ["nosniff"]
    assert headers.get_all("x-frame-options") == ["DENY"]
    assert headers.get_all("referrer-policy") == ["same-origin"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
