"""Manifests: what became of each file of a corpus, one JSON object a line, appended when the file is finished.

A process that works on a shard writes a manifest of its own, ``manifest.3-of-64.jsonl``, and reads all of them when it
starts, so no two processes write to one file and a finished file is known to every shard. The last row of a file, by
its time, is what counts. Rows of other settings or of other weights are refused rather than mixed.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import cut, open_regular, parse_json, short
from ecmvae.locks import open_locked
from ecmvae.provenance import __version__
from ecmvae.shards import Shard

logger = logging.getLogger(__name__)

Row = dict[str, Any]

MAX_BYTES, MAX_LINE = 1_000_000_000, 1_000_000
"""Of a manifest, and of one of its lines."""

_PATIENCE = 60.0  # seconds: Ray ends the workers of a driver that was killed
_BEGINNING = b'{"source": "'
"""Of every row."""


class Manifest:
    """The rows of a corpus, and the file to which this process appends.

    Used as a context manager. Each row holds `source`, `status`, `error`, the file's `bytes` and `modified` time,
    whatever figures its maker adds, the fields of `same`, `version`, and `finished` (UTC).

    Args:
        path: The manifest; a shard's own has the shard in its name.
        same: Fields that every row gets, and in which rows that are there must agree, such as settings and weights.
        shard: Of this process.
        force: Do not count rows of other settings instead of refusing them.
        alone: Read only this process's own file.
        patience: Seconds to wait for another process that writes to it.

    Raises:
        UserError: If another process writes the file, it cannot be written, or one of the manifests is not a manifest,
            is damaged, or has rows of other settings.
    """

    def __init__(
        self,
        path: Path,
        same: Mapping[str, Any],
        *,
        shard: Shard | None = None,
        force: bool = False,
        alone: bool = False,
        patience: float = 0.0,
    ) -> None:
        self.path = shard_path(path, shard)
        self.rows: dict[str, Row] = {}
        """Source -> its last row."""
        self.torn: set[str] = set()
        """Sources whose row was being written when the process was killed."""
        self._same = json.loads(json.dumps(dict(same)))  # as it is read back
        self._stack = ExitStack()
        with ExitStack() as self._stack:
            self._descriptor = self._stack.enter_context(_locked(self.path, patience))
            self._repair()
            if not alone:
                self._take_over()
            self._read([self.path] if alone else manifest_files(path), force=force)
            self._stack = self._stack.pop_all()

    def known(self, source: Path) -> Row | None:
        """The last row of a file, if the file is still the one that the row is about."""
        row, now = self.rows.get(source_name(source)), file_stamp(source)
        # a file that was removed after it was done stays done
        if row is None or now["bytes"] is None:
            return row
        return row if now.items() <= row.items() else None

    def append(self, source: Path, status: str, error: str = "", **figures: Any) -> Row:
        """Add the row of a file that is finished; it is on the disk when this returns."""
        row = {
            "source": source_name(source),
            "status": status,
            "error": error,
            **file_stamp(source),
            **figures,
        }
        return self.append_row({**row, **self._same, "version": __version__, "finished": _now()})

    def append_row(self, row: Row) -> Row:
        """Add a row as another manifest holds it."""
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        if os.write(self._descriptor, line) < len(line):
            raise OSError(f"{show_path(self.path)}: the disk is full")
        os.fsync(self._descriptor)
        self.rows[row["source"]] = row
        self.torn.discard(row["source"])
        return row

    def _take_over(self) -> None:
        """Add what the workers of a run that was killed have finished, and remove their journals."""
        journals = sorted(
            self.path.parent.glob(f".{glob.escape(self.path.stem)}.worker-*{self.path.suffix}")
        )
        there = (
            {(row["source"], row["finished"]) for row in read_rows(self.path)}
            if journals
            else set()
        )
        for journal in journals:
            with _locked(journal, _PATIENCE):
                for row in read_rows(journal):
                    if (row["source"], row["finished"]) not in there:
                        self.append_row(row)
                journal.unlink()

    def _read(self, files: Sequence[Path], *, force: bool) -> None:
        """Take over the last row of each source."""

        def slim(row: Row) -> Row:
            """Without the settings, of which a hundred thousand copies need not be kept, but with how they differ."""
            kept = {name: value for name, value in row.items() if name not in self._same}
            return {**kept, "different": _difference(row, self._same)}

        for name, row in last_rows(files, slim).items():
            different = row.pop("different")
            if different and not force:
                raise UserError(
                    f"{show_path(files[0].parent)}: {short(name)} was done with {different}: use the same, write to "
                    "another folder, or do everything again with --force"
                )
            if not different:
                self.rows[name] = row

    def _repair(self) -> None:
        """Cut off a last line that was not finished."""
        size = os.fstat(self._descriptor).st_size
        os.lseek(self._descriptor, max(0, size - MAX_LINE), os.SEEK_SET)
        rest = os.read(self._descriptor, MAX_LINE).rpartition(b"\n")[2]
        if not rest:
            return
        if not rest.startswith(_BEGINNING) and not _BEGINNING.startswith(rest):
            raise UserError(
                f"{show_path(self.path)} is not a manifest of ecmvae: name another file"
            )
        os.ftruncate(self._descriptor, size - len(rest))
        if match := re.match(rb'\{"source": ("(?:[^"\\]|\\.)*")', rest):
            self.torn.add(str(json.loads(match[1].decode(errors="replace"))))
        logger.warning(
            "%s: its last line was not finished when its process ended: dropped, and its file is done again",
            show_path(self.path),
        )

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of one manifest, in the order in which they were written; an unfinished last line is left out.

    Raises:
        UserError: If it cannot be read, is too large, or a line of it is not a row.
    """
    try:
        with open_regular(path) as file:
            if file.seek(0, os.SEEK_END) > MAX_BYTES:
                raise UserError(
                    f"{show_path(path)} is larger than {MAX_BYTES // 1_000_000} MB, the limit of a manifest: is it "
                    "the right file?"
                )
            file.seek(0)
            number = 0
            while (line := file.readline(MAX_LINE)).endswith(b"\n"):
                number += 1
                yield _row(line, f"line {number} of {show_path(path)}")
            if len(line) == MAX_LINE:
                raise UserError(
                    f"line {number + 1} of {show_path(path)} is too long for a manifest's"
                )
    except OSError as error:
        raise UserError(
            f"{show_path(path)} cannot be read ({error.strerror or error}): name another file"
        ) from None


def last_rows(files: Sequence[Path], change: Callable[[Row], Row] = dict) -> dict[str, Row]:
    """Source -> its last row in any of the manifests, by the time at which it was finished.

    Args:
        files: As `manifest_files` finds them.
        change: Applied to each row before it is kept.

    Raises:
        UserError: As `read_rows`.
    """
    last: dict[str, Row] = {}
    for path in files:
        for row in read_rows(path):
            before = last.get(row["source"])
            if before is None or row["finished"] >= before["finished"]:
                last[row["source"]] = change(row)
    return last


def manifest_files(path: Path) -> list[Path]:
    """The manifests of a run that there are, in the order of their names: the one at `path` and those of its shards."""
    shards = re.compile(rf"{re.escape(path.stem)}(\.\d+-of-\d+)?{re.escape(path.suffix)}")
    return sorted(
        each for each in path.parent.glob(f"*{path.suffix}") if shards.fullmatch(each.name)
    )


def shard_path(path: Path, shard: Shard | None) -> Path:
    """Where a shard writes: ``manifest.jsonl`` -> ``manifest.3-of-64.jsonl``."""
    return (
        path.with_name(f"{path.stem}.{shard.number}-of-{shard.count}{path.suffix}")
        if shard
        else path
    )


def source_name(path: Path) -> str:
    """A file's absolute path as text that every program can read; bytes that are not UTF-8 are escaped."""
    absolute = os.path.abspath(path)  # noqa: PTH100  # links are kept: they are names of their own
    return os.fsencode(absolute).decode("utf-8", errors="backslashreplace")


def file_stamp(path: Path) -> Row:
    """By what a file is recognised: size in bytes and time of change in ns; None where it is inaccessible."""
    try:
        found = path.stat()
    except OSError:
        return {"bytes": None, "modified": None}
    return {"bytes": found.st_size, "modified": found.st_mtime_ns}


def journal_path(path: Path, worker: int) -> Path:
    """Where worker number `worker` of the process that writes `path` notes what it finished, until that process has."""
    return path.with_name(f".{path.stem}.worker-{worker}{path.suffix}")


@contextmanager
def _locked(path: Path, patience: float) -> Iterator[int]:
    """A descriptor to append to a file that no other process holds; waits for at most `patience` seconds."""
    flags = (
        os.O_RDWR
        | os.O_CREAT
        | os.O_APPEND
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
    )
    end = time.monotonic() + patience
    while True:
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = stack.enter_context(open_locked(path, flags))
            except OSError as error:
                raise UserError(
                    f"cannot write the manifest {show_path(path)} ({error.strerror}): name another file"
                ) from error
            if descriptor is not None:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise UserError(
                        f"cannot write the manifest {show_path(path)} (a pipe or a device): name a file"
                    )
                yield descriptor
                return
        if time.monotonic() >= end:
            raise UserError(
                f"{show_path(path)} is being written by another process: stop it, or wait for it"
            )
        time.sleep(0.1)


def _row(line: bytes, where: str) -> Row:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise UserError(
            f"{where} is damaged (it is not UTF-8): remove it, and its file is done again"
        ) from None
    try:
        row = parse_json(text, where)
    except UserError as error:
        raise UserError(
            f"{cut(str(error))}, or remove the line, and its file is done again"
        ) from None
    texts = ("source", "status", "finished")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in texts):
        raise UserError(
            f"{where} is not a row of a manifest of ecmvae: name another file, or remove the line"
        )
    return row


def _difference(row: Row, same: Mapping[str, Any]) -> str:
    """The first field in which a row is not of the same run, in words; "" where there is none."""
    for name, value in same.items():
        other = row.get(name)
        if other == value:
            continue
        if isinstance(value, dict) and isinstance(other, dict):
            key = next(key for key in (*value, *other) if value.get(key) != other.get(key))
            return f"{key} {short(other.get(key), 60)}, not {short(value.get(key), 60)}"
        return f"{name} {short(other, 60)}, not {short(value, 60)}"
    return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
