"""What one visitor of `ecmvae app` may store, and how often one may guess the password. Independent of Gradio.

A visitor is an address; an IPv6 network of 64 bits counts as one, because its owner chooses the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from threading import Lock

from ecmvae.errors import UserError
from ecmvae.serving.service import Limits

UNUSED_SECONDS = 900.0
"""An upload that no job has read is deleted after this time."""

_FREE_GUESSES = 5
_LONGEST_WAIT = 60.0
_FORGOTTEN_AFTER = 900.0


def visitor_of(address: str) -> str:
    """The address itself, or the /64 network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:  # a name: Starlette's test client, a Unix socket
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)


class LoginThrottle:
    """Slows down password guesses: after five failures a visitor waits 2, 4, 8, ..., at most 60 seconds.

    Other visitors do not wait. Failures are forgotten after a success, or after 15 minutes without an attempt.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the time, in seconds, from `clock`."""
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}  # number and time of the last one

    def attempt(self, visitor: str) -> float:
        """Ask for an attempt, which counts as failed until `succeeded` is called.

        Args:
            visitor: From `visitor_of`.

        Returns:
            0 if the attempt may go on, else the seconds to wait; an attempt that has to wait is not counted.
        """
        now = self._clock()
        self._failures = {
            key: (count, last)
            for key, (count, last) in self._failures.items()
            if now - last < _FORGOTTEN_AFTER
        }
        count, last = self._failures.get(visitor, (0, now))
        if count >= _FREE_GUESSES:
            exponent = min(count - _FREE_GUESSES + 1, 10)  # the wait stops growing long before
            wait = last + min(2.0**exponent, _LONGEST_WAIT) - now
            if wait > 0:
                return wait
        self._failures[visitor] = count + 1, now
        return 0.0

    def succeeded(self, visitor: str) -> None:
        """Forget the visitor's failures."""
        self._failures.pop(visitor, None)


@dataclass
class _Upload:
    visitor: str
    added: float
    used: bool = False


class UploadStore:
    """Keeps account of uploaded files: by visitor, by size, and whether a job has read them.

    Methods may be called from any thread.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        folder: Path | None = None,
    ) -> None:
        """Refuse what exceeds the limits.

        Args:
            limits: `visitor_megabytes` and `total_megabytes` matter here.
            clock: Gives seconds.
            folder: Where Gradio puts the parts of a form first. Those that belong to no upload in the end (a part of
                another name, a form that it fails on) count for all visitors, and are deleted when no upload runs.
        """
        self._limits = limits
        self._clock = clock
        self._folder = folder
        self._uploads: dict[Path, _Upload] = {}
        self._reserved: list[tuple[str, int]] = []
        self._lock = Lock()

    @contextmanager
    def reserve(self, visitor: str, size: int) -> Iterator[None]:
        """Hold `size` bytes for a visitor while an upload is received.

        Args:
            visitor: From `visitor_of`.
            size: Bytes of the whole request.

        Raises:
            UserError: If the visitor, or all visitors together, would exceed the limit.
        """
        self.delete_unused()
        entry = visitor, size
        with self._lock:
            own, total = self._stored(visitor)
            if own + size > self._limits.visitor_megabytes * 1e6:
                raise UserError(
                    f"a visitor may store {self._limits.visitor_megabytes} MB, and {own / 1e6:.1f} MB of yours are "
                    f"here: this upload of {size / 1e6:.1f} MB is too much now. Uploads are deleted within an hour"
                )
            if total + size > self._limits.total_megabytes * 1e6:
                raise UserError(
                    f"this page stores {self._limits.total_megabytes} MB of uploads, and {total / 1e6:.1f} MB are "
                    f"taken: this upload of {size / 1e6:.1f} MB is too much now. Uploads are deleted within an hour"
                )
            self._reserved.append(entry)
        try:
            yield
        finally:
            with self._lock:
                self._reserved.remove(entry)
                if not self._reserved:
                    for path in self._parts():
                        path.unlink(missing_ok=True)

    def add(self, visitor: str, paths: Iterable[Path]) -> None:
        """Note files that a visitor has uploaded; the same file again gets a new age."""
        now = self._clock()
        with self._lock:
            for path in paths:
                known = self._uploads.get(path)
                self._uploads[path] = _Upload(visitor, now, used=known is not None and known.used)

    def delete_unknown(self, since: float) -> None:
        """Delete what Gradio has put into folders of uploads after `since` (`time.time`) and has not told about.

        Those are the first files of a form on whose later part it has failed.
        """
        with self._lock:
            for path in [] if self._folder is None else self._folder.glob(f"{'[0-9a-f]' * 64}/*"):
                if path not in self._uploads and path.stat().st_ctime >= since:
                    path.unlink(missing_ok=True)

    def use(self, path: Path) -> None:
        """Note that a job reads this file: from now on it is not deleted as unused."""
        with self._lock:
            if upload := self._uploads.get(path):
                upload.used = True

    def delete_unused(self) -> None:
        """Delete the files that no job has read within `UNUSED_SECONDS`, and forget those that are gone."""
        now = self._clock()
        with self._lock:
            for path, upload in list(self._uploads.items()):
                if not upload.used and now - upload.added > UNUSED_SECONDS:
                    path.unlink(missing_ok=True)
                if not path.exists():
                    del self._uploads[path]

    def _stored(self, visitor: str) -> tuple[int, int]:
        """Bytes of the visitor and of everyone, on disk or on their way."""
        sizes = [
            (upload.visitor, path.stat().st_size)
            for path, upload in self._uploads.items()
            if path.exists()
        ]
        sizes += self._reserved
        parts = sum(path.stat().st_size for path in self._parts() if path.exists())
        return sum(size for owner, size in sizes if owner == visitor), sum(
            size for _, size in sizes
        ) + parts

    def _parts(self) -> list[Path]:
        """Files that are not in a folder of their own yet."""
        return (
            []
            if self._folder is None
            else [path for path in self._folder.iterdir() if path.is_file()]
        )
