"""Results come in the order of the jobs, whoever does them; an error ends all."""

import os
import threading
import time

import pytest

from ecmvae.data.jobs import run_jobs


def test_one_worker_is_this_process() -> None:
    found = run_jobs(lambda job: (job, os.getpid()), [3, 1, 2], 1, title="", progress=False)
    assert list(found) == [(job, os.getpid()) for job in (3, 1, 2)]


def test_threads_keep_the_order() -> None:
    """The first job ends last."""
    last = threading.Event()

    def work(job: int) -> int:
        if job == 0:
            assert last.wait(30)
        if job == 2:
            last.set()
        return job * job

    assert list(run_jobs(work, range(3), 3, title="", threads=True, progress=False)) == [0, 1, 4]


def test_an_error_cancels_what_is_left() -> None:
    done = []

    def work(job: int) -> int:
        if job == 0:
            raise ValueError("the first one")
        time.sleep(0.02)
        done.append(job)
        return job

    with pytest.raises(ValueError, match="the first one"):
        list(run_jobs(work, range(500), 2, title="", threads=True, progress=False))
    assert len(done) < 499
