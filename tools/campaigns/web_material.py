"""Requests, forms, paths and JSON that no browser sends: the material of the campaign `web`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from urllib.parse import quote

from campaigns.page import UPLOAD, file_data, multipart

SCRIPT = b"<script>alert(1)</script>"

ROADS = [
    "/gradio_api/file=",
    "/file=",
    "/gradio_api/file/",
    "/gradio_api/proxy=",
    "/static/",
    "/assets/",
    "/custom_component/",
    "/svelte/",
    "/gradio_api/stream/",
    "/gradio_api/video/",
    "/gradio_api/deep_link/",
    "/gradio_api/vibe-code/",
    "/pwa_icon/",
    "/gradio_api/custom_component/x/client/component/",
    "/gradio_api/upload_progress?upload_id=",
]
"""Addresses that take a path."""

WEB_PAGES = {
    "a.html": b"<html>" + SCRIPT,
    "a.svg": b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>",
    "a.mp4": b"<html>" + SCRIPT,
    "a.js": b"alert(1)",
    "a.xml": b"<?xml version='1.0'?>" + SCRIPT,
    "a.pdf": b"%PDF-1.4",
    **dict.fromkeys(("a.xhtml", "a.htm", "a", "a.mht", "a.shtml", "a.mp4.html"), SCRIPT),
}
"""File name -> content that a browser could run."""

CONTROL_CHARACTERS = (
    *("\x1b[31mred", "\r\nFORGED line", "\nFORGED", "\x00", "\x7f", "\u202eevil", "\x9b31m"),
    *("\x1b]0;title\x07", "\u2028FORGED"),
)

FORM_TYPES = (
    *["multipart/form-data; boundary=XX"] * 6,
    *(
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "X" * 300,
    ),
    *(
        "multipart/mixed; boundary=XX",
        "multipart/form-data; boundary=\xff",
        "text/plain",
        "application/json",
        "",
    ),
    "multipart/form-data; charset=nonsense; boundary=XX",
)

_FILE_NAMES = (
    *(
        "../../escaped.mp4",
        "/tmp/escaped.mp4",
        "a" * 5000 + ".mp4",
        "a\x00b.mp4",
        "..",
        ".",
        "",
        "con",
        "a/b\\c.mp4",
    ),
    *("\udcff.mp4", "\x1b[31mred.mp4", "FORGED\u2028x.mp4", "🐕" * 300),
)

_HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
_POST = b"POST " + UPLOAD.encode() + _HEAD

BROKEN_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 500,
    "long head": b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "long target": b"GET /" + b"a" * 60_000 + _HEAD + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "method": b"BREW /" + _HEAD + b"\r\n",
    "absolute": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "smuggled": b"POST /"
    + _HEAD
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /config HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /" + _HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "NUL": b"GET /\x00 HTTP/1.1\r\n\r\n",
    "length": _POST + b"Content-Length: -1\r\n\r\n",
    "TRACE": b"TRACE /" + _HEAD + b"\r\n",
    "huge length": _POST + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n",
    "digits": _POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "pipelined": (b"GET /theme.css" + _HEAD + b"\r\n") * 200,
    "bytes in the path": b"GET /%ff%fe%00" + _HEAD + b"\r\n",
    "asterisk": b"OPTIONS *" + _HEAD + b"\r\n",
    "folded": b"GET /" + _HEAD + b"X: a\r\n b\r\n\r\n",
}
FOREIGN_HTTP = ("no host", "absolute", "CONNECT")
"""Those that name another host, or none."""


def hosts(port: int) -> Sequence[str]:
    """Names that are not the page's."""
    return (
        *(
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example:80",
            "sub.page.example",
        ),
        *(
            f"evil.example:{port}",
            "page.example.evil.example",
            "xpage.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
        ),
        *(
            "0x7f000001",
            "2130706433",
            "127.1",
            "localhost@evil.example",
            f"evil.example#localhost:{port}",
        ),
        *("", " ", "[", "]:1", "a" * 3000),
    )


def origins(port: int) -> Sequence[str]:
    """Pages that are not this one."""
    return (
        *(
            "http://evil.example",
            f"http://evil.example:{port}",
            "null",
            "http://127.0.0.1:1",
            "http://localhost",
        ),
        *(
            f"http://127.0.0.1.evil.example:{port}",
            "file://",
            "chrome-extension://abc",
            f"http://[::2]:{port}",
        ),
        *(
            "http://127.0.0.1:x",
            f"http://evil.example/http://127.0.0.1:{port}",
            f"http://evil.example@x:{port}",
        ),
        *("", "http://", "a" * 5000),
    )


def outside(rng: Random, secret: Path, folder: Path, own: int, listener: int) -> list[str]:
    """Paths and addresses that no visitor may reach.

    Args:
        rng: For their number of ``..``.
        secret: A file beside the page's folder.
        folder: The page's folder.
        own: The page's port.
        listener: Port of a server that must not be asked.
    """
    up, path = "../" * rng.randrange(1, 12), str(secret)
    package = Path(__file__).parents[2] / "ecmvae"
    address = f"http://127.0.0.1:{listener}/x.mp4"
    return [
        *(
            path,
            f"{up}{path.lstrip('/')}",
            f"/{up}{path}",
            f"file://{path}",
            f"//{path}",
            f"./{path}",
            f"{path}%00.mp4",
        ),
        *(f"{folder}/../{secret.name}", f"{folder}/%2e%2e/{secret.name}", f"/proc/self/root{path}"),
        *(quote(path, safe=""), quote(quote(path, safe=""), safe=""), f"..\\..\\{secret.name}"),
        *(
            "/etc/passwd",
            "/proc/self/environ",
            "/proc/self/cmdline",
            "~/.bashrc",
            ".",
            "/",
            "",
            "\x00",
        ),
        *(
            str(package / "cli.py"),
            str(secret.parent / "tiny-model" / "config.yaml"),
            "\\\\127.0.0.1\\share",
        ),
        *(address, address.replace("http", "HTTP"), address.replace("127.0.0.1", "2130706433")),
        *(address.replace("127.0.0.1", "[::ffff:7f00:1]"), f"http://localhost:{own}/config"),
        *(f"gopher://127.0.0.1:{listener}/", f"concat:{path}", f"subfile,,start,0,,:{path}"),
        *(
            "data:video/mp4;base64,AAAA",
            "a" * 5000,
            "pipe:0",
            "rtsp://127.0.0.1:1/",
            "/dev/zero",
            "/dev/stdin",
        ),
    ]


def video_of(path: str, shape: int) -> object:
    """A path in one of five forms in which a job could take it."""
    if shape == 0:
        return file_data(path)
    if shape == 1:
        return file_data("x.mp4", url=path)
    if shape == 2:
        return {"video": file_data(path)}
    return file_data(path, url=path, is_stream=True) if shape == 3 else path


def malformed_form(rng: Random) -> tuple[str, bytes]:
    """What is wrong with a form, and the form."""
    whole = multipart(rng.randbytes(200))
    place = rng.randrange(len(whole))
    twice = b"\r\nContent-Disposition: form-data\r\n\r\n"
    forms = {
        "name": multipart(b"x", rng.choice(_FILE_NAMES)),
        "cut": whole[:place],
        "empty": b"",
        "no form": b"hello",
        "flipped": whole[:place]
        + bytes([whole[place] ^ (1 << rng.randrange(8))])
        + whole[place + 1 :],
        "many parts": multipart(b"x") * rng.choice([30, 3000]),
        "long header": whole.replace(b"form-data", b"f" * 30_000),
        "no name": whole.replace(b"filename=", b""),
        "twice": whole.replace(b"\r\n\r\n", twice),
        "boundary": b"--" + b"X" * 5000 + whole,
        "garbage": rng.randbytes(3000),
        "bare": whole.replace(b"\r\n", b"\n"),
    }
    kind = rng.choice([*forms])
    return kind, forms[kind]


def hostile_json(rng: Random) -> tuple[str, str]:
    """An address that takes JSON, and text to send there."""
    deep, long = rng.choice([100, 100_000]), rng.choice([10, 900_000])
    values = [
        *(
            "[" * deep + "]" * deep,
            '{"a":' * (deep // 6) + "1" + "}" * (deep // 6),
            "[1" + ",1" * (long // 2) + "]",
        ),
        *(
            "9" * min(long, 5000),
            "1e999",
            "NaN",
            "-Infinity",
            '"' + "a" * long + '"',
            "null",
            "true",
            "{}",
            "",
            "{",
        ),
        *(
            '"\\ud800"',
            '"\x01"',
            "1.5",
            '{"path": {"path": 1}}',
            '{"path": "x", "meta": {"_type": 7}}',
        ),
        *('{"path": null, "meta": {"_type": "gradio.FileData"}}', '{"__type__": "update"}'),
    ]
    value, choices = rng.choice(values), ['"contour"', "0.5", "1", "0.0", "false"]
    if rng.random() < 0.4:
        odd = ["1e999", "NaN", "-1", '"x"', "null", "[]", "{}", "100000000", '"heatmap\x00"']
        choices[rng.randrange(5)] = rng.choice(odd)
    shapes = [
        f'{{"data": [{value}, {", ".join(choices)}]}}',
        f'{{"data": {value or 0}}}',
        value,
        f'{{"data": [null, {", ".join(choices)}], "session_hash": {value or 0}, "fn_index": 2}}',
        f'{{"data": [], "fn_index": {value or 0}, "session_hash": "a"}}',
        f'{{"event_id": {value or 0}, "session_hash": "a", "fn_index": 0}}',
    ]
    names = [
        "call/segment",
        "call/cancel",
        "queue/join",
        "cancel",
        "component_server",
        "reset",
        "run/segment",
        "call/nothing",
    ]
    return f"/gradio_api/{rng.choice(names)}", rng.choice(shapes)


def private_requests(secret: Path, folder: Path) -> list[tuple[str, str]]:
    """Method and path of what takes a login."""
    get = ("/config", "/config/", "//config", "/gradio_api/info", "/gradio_api/queue/status")
    more = (
        f"/gradio_api/file={secret}",
        f"/gradio_api/file={folder}",
        "/gradio_api/queue/data?session_hash=a",
    )
    names = "call/segment queue/join run/segment api/predict component_server cancel stream/x upload upload/ reset"
    return [("GET", path) for path in (*get, *more)] + [
        ("POST", f"/gradio_api/{name}") for name in names.split()
    ]
