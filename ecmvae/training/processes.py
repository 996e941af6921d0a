"""One run on several processes of this machine: they start, stop and fail as one.

The parent trains nothing. It hands signals on, waits, and raises what went wrong in a process as if it had happened
here, so that exit codes and messages are those of a run on one process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from ecmvae.errors import UserError

GRACE_SECONDS = 30.0
"""How long the other processes may take to leave once one has failed; then they are ended."""


class Place(LightningEnvironment):
    """Number of a process in its run, and the port at which all meet; process 0 alone writes and shows progress."""

    def __init__(self, rank: int, port: int) -> None:
        super().__init__()
        self.rank, self._port = rank, port
        self.set_global_rank(rank)  # from now on Lightning speaks on process 0 only

    @property
    def creates_processes_externally(self) -> bool:
        """The processes are there already: Lightning starts none."""
        return True

    @property
    def main_port(self) -> int:
        """Where the processes meet."""
        return self._port

    def local_rank(self) -> int:
        """The process's number on this machine, which is its number."""
        return self.rank


def run_processes(count: int, work: Callable[..., None], *args: Any) -> None:
    """Call ``work(place, *args)`` in `count` new processes and wait until all are done.

    SIGTERM and Ctrl-C are handed on as SIGTERM, once; a second signal ends the processes at once.
    `work` is a function of a module, which the processes import; its further arguments are pickled.

    Raises:
        UserError: Or `OSError`, `FloatingPointError`, `MemoryError`: the first that one of the processes raised.
        SystemExit: With 143 after SIGTERM and 130 after Ctrl-C.
    """
    # The processes read this when they import torch. DDP would tell every run that it need not look for unused
    # parameters; whether there are any depends on the weights of the losses.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    failures = get_context("spawn").SimpleQueue()
    threads = max(1, torch.get_num_threads() // count)
    with _signals_handed_on() as (received, watch):
        processes: ProcessContext = start_processes(  # type: ignore[no-untyped-call]
            _guarded, (find_free_network_port(), threads, failures, work, args), nprocs=count, join=False
        )
        watch(processes)
        try:
            while not processes.join(grace_period=GRACE_SECONDS):
                pass
        except (ProcessExitedException, ProcessRaisedException) as end:
            if received:
                raise SystemExit(128 + received[0]) from None
            if not failures.empty():
                raise failures.get() from None
            if isinstance(end, ProcessExitedException) and end.exit_code > 128:  # ended from outside
                raise SystemExit(end.exit_code) from None
            raise
    if received:
        raise SystemExit(128 + received[0])


def _guarded(
    rank: int, port: int, threads: int, failures: Any, work: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """One process: failures that the command line reports in one line are passed to the parent as they are."""
    torch.set_num_threads(threads)
    try:
        work(Place(rank, port), *args)
    except (UserError, OSError, FloatingPointError, MemoryError) as error:
        failures.put(error)
        raise SystemExit(1) from None


@contextmanager
def _signals_handed_on() -> Iterator[tuple[list[int], Callable[[ProcessContext], None]]]:
    """Yields the signals received so far, and the function that says to whom they are handed on."""
    received: list[int] = []
    watched: list[ProcessContext] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in (process for context in watched for process in context.processes):
            if process.is_alive():
                process.terminate() if len(received) == 1 else process.kill()

    def watch(processes: ProcessContext) -> None:
        watched.append(processes)
        if received:  # while they were being started
            for process in processes.processes:
                process.terminate()

    previous = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received, watch
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
