"""Commands of ecmvae as processes that can be signalled, or that kill themselves at a chosen file operation.

Each command is a fork of a process that has imported everything (Python's fork server), so that a random moment of it
is a moment of work, not of importing.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = (
    "ecmvae.cli",
    "ecmvae.training.run",
    "ecmvae.training.vae",
    "ecmvae.prediction.run",
    "matplotlib.pyplot",
    "gradio",
)
"""What the fork server imports beforehand."""

_FILE_OPERATIONS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
)
"""Audit events, each raised before Python does it."""


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """What a command does to itself.

    Attributes:
        folder: Only operations on files below it count.
        operation: Before the file operation of this number, counted from 0, it kills itself.
        save: In the `torch.save` of this number, counted from 0, it kills itself ...
        share: ... when this share of the file has been written.
        count_to: Write the number of file operations into this file at the end.
        largest_file: Bytes that a file may have, as on a full disk.
    """

    folder: Path
    operation: int | None = None
    save: int | None = None
    share: float = 0.5
    count_to: Path | None = None
    largest_file: int | None = None


def _draw_nothing(history: Path, picture: Path) -> None:
    """Training ends with a picture of its curves, which takes longer than a tiny training itself."""


class Command:
    """A running command.

    Args:
        words: The command line after ``ecmvae``.
        output: File that takes its standard output and error.
        temporary: Its folder for temporary files.
        sabotage: What it does to itself.
    """

    def __init__(
        self, words: Sequence[str], output: Path, temporary: Path, sabotage: Sabotage | None = None
    ) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload([*IMPORTED])
        self.output = output
        temporary.mkdir(exist_ok=True)
        self._process: BaseProcess = context.Process(
            target=_run, args=([*words], str(output), str(temporary), sabotage)
        )
        self._process.start()
        wait_for(lambda: self.text().startswith(_BEGUN) or not self._process.is_alive())

    @property
    def process(self) -> int | None:
        """Id of the process."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()

    def send(self, *signals: int, between: float = 0.0) -> None:
        """Send signals, with a pause between them; nothing if the command has ended."""
        for number, each in enumerate(signals):
            if number:
                time.sleep(between)
            if self._process.is_alive() and self._process.pid:
                os.kill(self._process.pid, each)

    def wait(self, seconds: float = 120.0) -> int | None:
        """Its exit code, negative for a signal; None if it did not end, in which case it is killed."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        return code

    def after(self, seconds: float) -> Command:
        """Wait so long, or until it has ended."""
        self._process.join(seconds)
        return self

    def text(self) -> str:
        """What it has printed so far."""
        return (
            self.output.read_text(encoding="utf-8", errors="replace")
            if self.output.exists()
            else ""
        )

    def fault(self, promised: Sequence[int]) -> str:
        """Wait for its end; why it counts as lost: no end, a traceback, an exit code that is not promised."""
        code = self.wait()
        if code is None:
            return "no end"
        if code == -signal.SIGKILL and code in promised:
            return ""  # a data worker that has lost its parent may say so
        text = self.text()
        # Python prints and forgets an exception in a finaliser, a Ctrl-C too: a person presses it again.
        if "Traceback (most recent call last)" in text and not (
            code == 0 and "Exception ignored in" in text
        ):
            return f"traceback: {text.strip().splitlines()[-1][:200]}"
        return "" if code in promised else f"exit code {code}: {text.strip()[-200:]}"


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: If it does not.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened in {seconds:g} s")
        time.sleep(0.005)


_BEGUN = "begun\n"


def _run(words: list[str], output: str, temporary: str, sabotage: Sabotage | None) -> NoReturn:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A child of the fork server would start its own workers by one, too, and each would import PyTorch again.
    set_start_method("fork", force=True)
    import ecmvae.training.run
    from ecmvae.cli import main

    ecmvae.training.run.draw_curves = _draw_nothing
    if sabotage is not None:
        _arm(sabotage)
    os.write(1, _BEGUN.encode())
    sys.exit(main(words))


def _arm(sabotage: Sabotage) -> None:
    if sabotage.largest_file is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (sabotage.largest_file, resource.RLIM_INFINITY))
    if sabotage.save is not None:
        _break_saving(sabotage.save, sabotage.share)
    if sabotage.operation is not None or sabotage.count_to is not None:
        sys.addaudithook(_Watcher(sabotage))


class _Watcher:
    """Counts file operations, and ends the process before one of them."""

    def __init__(self, sabotage: Sabotage) -> None:
        self.folder, self.last, self.count = str(sabotage.folder), sabotage.operation, 0
        told = sabotage.count_to
        self.told = None if told is None else os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _FILE_OPERATIONS or not _writes(event, arguments):
            return
        if not any(
            isinstance(each, str | os.PathLike) and os.fspath(each).startswith(self.folder)
            for each in arguments
        ):
            return
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        if self.told is not None:
            os.pwrite(self.told, str(self.count).encode(), 0)


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _break_saving(number: int, share: float) -> None:
    import torch

    save, calls = torch.save, iter(range(1_000_000))

    def dying(content: object, path: Any) -> None:
        save(content, path)
        if next(calls) == number:
            os.truncate(path, int(share * Path(path).stat().st_size))
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = dying
