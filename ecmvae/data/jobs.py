"""Many independent pieces of work, spread over processes or threads, with a progress bar on standard error."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    *,
    title: str,
    threads: bool = False,
    progress: bool = True,
) -> Iterator[Result]:
    """The results in the order of the jobs; one worker is the current process. An error cancels what is left."""
    pool: Executor | None = None
    if workers > 1 and threads:
        pool = ThreadPoolExecutor(workers)
    elif workers > 1:
        # A new interpreter per worker: forking a process with torch's threads may hang.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
        )
    try:
        results = map(work, jobs) if pool is None else pool.map(work, jobs)
        console = Console(stderr=True, quiet=not progress)
        yield from track(results, title, len(jobs), console=console, transient=True)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
