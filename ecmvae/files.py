"""Files appear whole or not at all, after a power cut too: write to a temporary name in the folder, then rename."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecmvae.errors import UserError


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well and vanishes when it does not.

    The temporary name is hidden, carries this machine and this process's id (two processes never share one) and keeps
    the suffix, by which libraries choose a format. The block may make a file or a folder of that name; a folder
    replaces nothing but an older folder of our own kind.

    Args:
        path: Where the finished file or folder will be. Missing parent folders are made.
        previous: Where the file that `path` holds until then is kept; it replaces an older one there. If the process
            dies between the two renames, only `previous` exists.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_stub(path)}{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.is_dir():
            _replace_folder(temporary, path)
        else:
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
        _flush_one(path.parent)
    finally:
        _remove(temporary)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file of bytes, whole or not at all.

    Raises:
        OSError: Naming the file, when the disk is full or it cannot be made.
    """
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OSError(f"{show_path(path)} cannot be written: {error.strerror or error}") from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def require_space(folder: Path, needed: int, what: str) -> None:
    """Say that a disk is too full, in place of the error that a library would raise half-way.

    Args:
        folder: Where the bytes go; its nearest existing parent is asked.
        needed: Bytes.
        what: What needs them, for the message: "the checkpoint".

    Raises:
        OSError: If fewer bytes are free.
    """
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(above).free
    if free < needed:
        raise OSError(
            f"no space left on {show_path(above)} ({what} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free)",
        )


def remove_leftovers(path: Path) -> None:
    """Delete what processes that were killed (`kill -9`, a power cut) have left of `path`.

    A folder that a process was about to replace is put back if it died between its two renames. Only what was begun on
    this machine and by a process that has ended is touched. On Windows nothing is done: asking after a process could
    end it there.
    """
    if os.name != "posix" or not path.parent.is_dir():
        return
    stub = _stub(path)
    for each in list(path.parent.iterdir()):
        process, part, ending = each.name.removeprefix(stub).partition(".part")
        if (
            each.name.startswith(stub)
            and part
            and process.isdecimal()
            and not _is_alive(int(process))
        ):
            if ending == f"{path.suffix}.old" and not path.exists():
                each.rename(path)
            else:
                _remove(each)


def refuse_unwritable(path: Path) -> None:
    """Say early that a file or folder, with the missing folders above it, cannot be written, before work is lost.

    Raises:
        UserError: If its name is too long, something above it is not a folder, or may not be written to.
    """
    try:
        path.exists()  # raises where a name is too long
        above = next(each for each in path.absolute().parents if each.exists())
    except OSError as error:
        raise UserError(
            f"cannot write {show_path(path)} ({error.strerror}): choose another name or folder"
        ) from error
    if not above.is_dir():
        raise UserError(f"cannot write {show_path(path)}: {show_path(above)} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {show_path(path)}: the folder {show_path(above)} may not be written to"
        )


def show_path(path: Path) -> str:
    """The path on one printable line, quoted where it holds newlines or bytes that are not UTF-8."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _stub(path: Path) -> str:
    """How all temporary names of `path` on this machine begin."""
    key = zlib.crc32(os.fsencode(path.name))  # two long names may begin alike
    machine = zlib.crc32(platform.node().encode())
    return f".{path.stem[:30]}.{key:08x}.{machine:08x}-"


def _replace_folder(new: Path, path: Path) -> None:
    """Rename a folder over an older one, which is missing only between two renames, not while it is deleted."""
    retired = new.with_name(f"{new.name}.old")
    path.replace(retired)
    try:
        new.replace(path)
    except OSError:
        retired.replace(path)
        raise
    _remove(retired)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk: a rename must not come there before it."""
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            _flush(each)
    if not path.is_symlink():
        _flush_one(path)


def _flush_one(path: Path) -> None:
    """`fsync`; nothing on Windows, which knows none for folders."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot, as some in the network
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's
        return True
    return True
