"""Deadlines of connections: a client must send its requests at a reasonable speed, or the connection is closed.

uvicorn's own timeout covers only connections that are silent after a response. Without more, a few hundred sockets that
send half a request head ("slow loris") hold as many descriptors of the server until they choose to go.

A connection is told by a context variable: tasks that answer a request inherit it from the protocol that started them.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long clients may take to send a request."""

    head_seconds: float = 10.0
    """From opening the connection, or from the last response, to the end of a request's head."""
    body_seconds: float = 30.0
    """Waiting for a request's body, besides what the slowest rate takes."""
    slowest_rate: float = 10_000.0
    """Bytes a second of a body, on average."""


class _Connection:
    """Closes a connection on which no request is in progress and nothing arrives."""

    def __init__(self, transport: asyncio.Transport, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.received = 0
        self._transport = transport
        self._requests = 0
        self._timer: asyncio.TimerHandle | None = None
        self._start()

    def begin_request(self) -> None:
        """A request's head is here: its answer may take any time."""
        self._requests += 1
        self.stop()

    def end_request(self) -> None:
        """The request is answered: wait for the next one."""
        self._requests -= 1
        if not self._requests and not self._transport.is_closing():
            self._start()

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close the connection once what was written to it has been sent."""
        self._transport.close()

    def _start(self) -> None:
        self.stop()
        self.received = 0
        self._timer = asyncio.get_running_loop().call_later(self.deadlines.head_seconds, self._due)

    def _due(self) -> None:
        seconds = self.deadlines.head_seconds
        if self.received >= seconds * self.deadlines.slowest_rate:
            self._start()  # the rest of a large request that was refused: its client has not read the answer yet
            return
        if self.received:
            address = self._transport.get_extra_info("peername")
            logger.warning(
                "closed a connection from %s: no whole request in %g s",
                address and address[0],
                seconds,
            )
        self._transport.abort()


_connection: ContextVar[_Connection | None] = ContextVar("connection", default=None)
"""The connection that the running task answers."""


def with_deadlines(
    protocol: type[asyncio.Protocol], deadlines: Deadlines
) -> type[asyncio.Protocol]:
    """A server's protocol that closes connections on which no whole request head arrives.

    Args:
        protocol: HTTP protocol of uvicorn. Its application must be inside `RequestDeadlines`.
        deadlines: How long clients may take.
    """

    class Timed(protocol):  # type: ignore[misc, valid-type]
        _timed: _Connection

        def connection_made(self, transport: Any) -> None:
            self._timed = _Connection(transport, deadlines)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self._timed.received += len(data)
            token = _connection.set(self._timed)
            try:
                super().data_received(data)
            finally:
                _connection.reset(token)

        def connection_lost(self, exc: Exception | None) -> None:
            self._timed.stop()
            super().connection_lost(exc)

    return Timed


class RequestDeadlines:
    """Tells connections when a request begins and ends, and gives up requests whose body arrives too slowly.

    Outermost, so that no time is spent outside of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`, which runs on a protocol `with_deadlines`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; the application sees a client that is too slow as one that has hung up."""
        connection = _connection.get()
        if connection is None:  # the server's start and end
            await self._app(scope, receive, send)
            return
        connection.begin_request()
        try:
            if scope["type"] == "http":
                receive = _Body(scope, receive, connection).receive
            await self._app(scope, receive, send)
        finally:
            connection.end_request()


class _Body:
    """Receives a request's body, and counts the time that is spent waiting for it."""

    def __init__(self, scope: Scope, receive: Receive, connection: _Connection) -> None:
        self._scope, self._receive, self._connection = scope, receive, connection
        self._size, self._waited = 0, 0.0
        self._complete = self._gave_up = False

    async def receive(self) -> Message:
        """The next message; `http.disconnect` if the client is too slow."""
        if self._complete:
            return await self._receive()
        loop, limits = asyncio.get_running_loop(), self._connection.deadlines
        left = limits.body_seconds + self._size / limits.slowest_rate - self._waited
        before = loop.time()
        try:
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            if not self._gave_up:
                client = self._scope.get("client")
                logger.warning(
                    "gave up a request from %s: its body arrives too slowly", client and client[0]
                )
            self._gave_up = True
            loop.call_later(1.0, self._connection.close)  # time for an answer
            return {"type": "http.disconnect"}
        self._waited += loop.time() - before
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message
