"""Middleware of `ecmvae app`: who may talk to the page, from which other pages, how much and how often.

`HostGuard` and `SecurityHeaders` belong outside of everything else, so that Gradio's CORS headers are not added to a
refusal. `UploadQuota` and `LoginGuard` belong inside, where responses are not compressed yet. A refusal is one line,
for the visitor and for the log.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from dataclasses import dataclass
from http.cookies import SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from starlette.formparsers import MultiPartException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, parse_json
from ecmvae.serving.quotas import LoginThrottle, UploadStore, visitor_of

logger = logging.getLogger(__name__)

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'"
)
"""The page may load only what comes from its own address, and no other page may show it in a frame."""

_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (
        b"referrer-policy",
        b"same-origin",
    ),  # "no-referrer" would turn the Origin of the page's own forms into null
]
_LARGEST_BODY = 1_000_000  # bytes of a request that is not an upload
_UNUSED = tuple(
    f"/gradio_api/{name}"
    for name in (
        *(
            "process_recording",
            "component_server",
            "stream",
            "api",
            "proxy=",
            "deep_link",
            "custom_component",
        ),
        *("vibe-", "undo-vibe-edit", "run-history", "dev", "profiling"),
    )
)
"""Beginnings of Gradio's addresses that the page does not need: they store files, run functions or fetch addresses."""


@dataclass(frozen=True)
class AllowedHosts:
    """Names by which visitors may address the page.

    Attributes:
        listening: The address that the server listens on. If it is 0.0.0.0 or ::, any numeric address passes (a name
            that an attacker controls is never numeric), and the name of this machine.
        extra: More names, for example those of a reverse proxy.
    """

    listening: str
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise a `UserError` if an extra name has a scheme, a port or a path."""
        for name in self.extra:
            if _hostname(name) != name.lower():
                raise UserError(
                    f"allowed_hosts takes names like page.example, without scheme and port, not {name!r}"
                )

    def host(self, authority: str) -> bool:
        """Whether a Host header, `name` or `name:port`, is one of ours."""
        name = _hostname(authority)
        listening = self.listening.strip("[]").lower()
        if name in {"localhost", "127.0.0.1", "::1", listening, *map(str.lower, self.extra)}:
            return True
        if listening not in ("0.0.0.0", "::"):
            return False
        machine = socket.gethostname().lower()
        return name in (machine, f"{machine}.local") or _is_numeric(name)

    def origin(self, origin: str, authority: str) -> bool:
        """Whether an Origin header is a page of ours: an extra name, or the name and port of `Host`."""
        place = origin.partition("://")[2]
        if _hostname(place) in map(str.lower, self.extra):
            return True
        return self.host(place) and (_hostname(place), _port(place)) == (
            _hostname(authority),
            _port(authority),
        )


class HostGuard:
    """Refuses a foreign `Host` (DNS rebinding) and a foreign `Origin` (another page in a visitor's browser)."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        """Guard `app`; `hosts` pass."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = HTTPConnection(scope).headers
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._hosts.host(host):
            reason = f"this page is not {_shown(host)}; --allowed_hosts adds a name"
        elif origin is not None and not self._hosts.origin(origin, host):
            reason = f"requests of the page {_shown(origin)} are not accepted; --allowed_hosts adds a name"
        elif not _is_path(scope["path"]):  # Gradio would ask the file system, which raises
            await _refuse(404, "page not found", scope, receive, send)
            return
        else:
            await self._app(scope, receive, send)
            return
        await _refuse(403, reason, scope, receive, send)


class SecurityHeaders:
    """Adds a content security policy and the other headers that browsers obey to every response."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and the headers back."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _BadForm(Exception):
    """Gradio has failed on a form."""


class UploadQuota:
    """Limits what visitors store, and the size of all other requests."""

    def __init__(self, app: ASGIApp, uploads: UploadStore) -> None:
        """Limit `app` to what `uploads` grants."""
        self._app = app
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403, 411 or 413."""
        if scope["type"] == "http" and scope["path"].startswith(_UNUSED):
            await _refuse(403, "this page does not need that address", scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"].rstrip("/"), HTTPConnection(scope).headers
        if "transfer-encoding" in headers:
            await _refuse(411, "requests need a Content-Length", scope, receive, send)
            return
        # the server has refused what is not a number
        size = int(headers.get("content-length", "0"))
        if path != "/gradio_api/upload":
            if size > _LARGEST_BODY:
                reason = f"a request of {size} bytes that is not an upload: {_LARGEST_BODY} are the limit"
                await _refuse(413, reason, scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        try:
            await self._upload(_visitor(scope), size, scope, receive, send)
        except UserError as error:
            await _refuse(413, str(error), scope, receive, send)
        except _BadForm as error:
            await _refuse(
                400, f"this form cannot be read ({cut(str(error))})", scope, receive, send
            )

    async def _upload(
        self, visitor: str, size: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass an upload on, and note the files that Gradio's answer, a JSON list of paths, names."""
        status, body = 0, b""

        async def send_and_note(message: Message) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"")
            await send(message)

        async def receive_all() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not status:
                # for this one Gradio deletes what it has stored
                raise MultiPartException("the upload was cut short")
            return message

        began = time.time() - 1.0  # clocks of file systems are coarse
        with self._uploads.reserve(visitor, size):
            try:
                await self._app(scope, receive_all, send_and_note)
            except Exception as error:  # any: Gradio's parser takes forms as browsers send them
                if status:
                    raise
                self._uploads.delete_unknown(began)
                raise _BadForm(f"{type(error).__name__}: {error}") from error
            if status == 200:
                self._uploads.add(visitor, map(Path, json.loads(body)))


class JsonGuard:
    """Refuses JSON that is malformed, deep, not finite or not Unicode; Gradio fails to put such values into its answer.

    Belongs inside of `UploadQuota`, which limits the size of what is read here.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 400."""
        if (
            scope["type"] != "http"
            or scope["method"]
            in ("GET", "HEAD", "OPTIONS")  # browsers say JSON there, too, and send nothing
            or "json" not in HTTPConnection(scope).headers.get("content-type", "").lower()
        ):
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        try:
            value = parse_json(body.decode(), "this request")
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (UserError, ValueError) as error:
            await _refuse(400, cut(str(error)), scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


class LoginGuard:
    """Slows down password guesses and logs failed ones, without the guess.

    Visitors without a cookie of a login may read, as far as Gradio lets them, and send nothing but the password.
    """

    def __init__(self, app: ASGIApp, throttle: LoginThrottle) -> None:
        """Guard the login of `app`."""
        self._app = app
        self._throttle = throttle
        self._cookies: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401 or 429."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        if scope["path"].rstrip("/") != "/login":
            if self._cookies.isdisjoint(HTTPConnection(scope).cookies.values()):
                await _refuse(401, "log in first", scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        visitor = _visitor(scope)
        if wait := math.ceil(self._throttle.attempt(visitor)):
            reason = f"too many failed logins: try again in {wait} s"
            await _refuse(429, reason, scope, receive, send, {"Retry-After": str(wait)})
            return

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 200:
                    self._throttle.succeeded(visitor)
                    self._cookies |= _new_cookies(message)
                else:
                    logger.warning("failed login from %s", _address(scope))
            await send(message)

        await self._app(scope, receive, send_and_note)


def _new_cookies(message: Message) -> set[str]:
    """Values of the cookies that a response sets."""
    cookies: set[str] = set()
    for name, value in message["headers"]:
        if name.lower() == b"set-cookie":
            cookies |= {
                each.value for each in SimpleCookie(value.decode("latin-1")).values() if each.value
            }
    return cookies


async def _refuse(
    status: int,
    reason: str,
    scope: Scope,
    receive: Receive,
    send: Send,
    headers: dict[str, str] | None = None,
) -> None:
    """Answer with one line, and log it."""
    method = scope.get("method", "websocket")
    logger.warning(
        "refused %s %s from %s: %s", method, _shown(scope["path"]), _address(scope), reason
    )
    await PlainTextResponse(f"{reason}\n", status, headers)(scope, receive, send)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


def _visitor(scope: Scope) -> str:
    return visitor_of(_address(scope))


def _shown(text: str) -> str:
    """Foreign text in one line of at most 80 characters, without control characters."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _hostname(authority: str) -> str:
    """The name of `name:port` in lower case; empty if there is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:  # unbalanced brackets
        return ""


def _port(authority: str) -> int | None:
    try:
        return urlsplit(f"//{authority}").port
    except ValueError:  # not a number
        return -1


def _is_path(path: str) -> bool:
    """Whether a file could have this path."""
    encoded = path.encode("utf-8", "replace")
    return "\0" not in path and len(encoded) <= 3000 and max(map(len, encoded.split(b"/"))) <= 255


def _is_numeric(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
