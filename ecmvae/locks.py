"""Folders that one process at a time may use: `flock`, which the kernel releases with the process, also after SIGKILL.

On Windows, which has no `flock`, nothing is locked.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import show_path

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LOCK_FILE = "run.lock"
"""The file in a run's folder that is locked; it stays there and names the last process that used the folder."""

_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What `flock` answers on network file systems that are mounted without locks."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextmanager
def locked(folder: Path, name: str = LOCK_FILE) -> Iterator[None]:
    """Keep other processes out of `folder` while the block runs.

    Only those are kept out that ask for the same lock. Processes that this one starts do not inherit it.

    Args:
        folder: Made where it is missing.
        name: File in it that is locked, and in which this process writes its id and the machine's name.

    Raises:
        UserError: When another process holds the lock; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    # A link is not followed: the file is emptied.
    with open_locked(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)) as descriptor:
        if descriptor is None:
            raise UserError(
                f"{show_path(folder)} is in use by {_holder(file)}: stop it or wait until it has ended"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder in the system's temporary folder, deleted at the end.

    Folders of the same prefix and user that killed processes have left are deleted first.
    """
    if sys.platform == "win32":
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    for each in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_abandoned(each)
    folder = Path(tempfile.mkdtemp(prefix=f".{prefix}"))
    try:
        with open_locked(folder, os.O_RDONLY):
            # only now may another process see it
            folder = folder.rename(folder.with_name(folder.name[1:]))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Delete a folder of this user that no process holds locked."""
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return
    with open_locked(folder, os.O_RDONLY) as descriptor:
        if descriptor is not None:
            shutil.rmtree(folder)


@contextmanager
def open_locked(path: Path, flags: int) -> Iterator[int | None]:
    """A descriptor of `path`, locked until the block ends; None where another process holds the lock.

    Args:
        path: File or folder.
        flags: Of `os.open`.

    Raises:
        OSError: If it cannot be opened.
    """
    descriptor = os.open(path, flags, 0o644)
    _held.add(descriptor)
    try:
        yield descriptor if _lock(descriptor, path) else None
    finally:
        if descriptor in _held:  # not in a forked child, which has closed it
            _held.remove(descriptor)
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
        logger.warning(
            "%s cannot be locked (%s): let no second process use its folder", show_path(path), error
        )
    return True


def _holder(file: Path) -> str:
    """What the process that holds the lock has written about itself."""
    text = file.read_text(encoding="utf-8", errors="replace")[:200].strip()
    return text if text and text.isprintable() else "another process"


def _let_go() -> None:
    """A forked child closes its copies: it may outlive its parent, with which the lock must end."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)
