"""Freed memory goes back to the system, and threads do not keep memory of their own."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ecmvae.memory import release_free_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")

MANY_THREADS = """
import sys, threading
from pathlib import Path
from ecmvae.memory import limit_arenas

if sys.argv[1] == "limited":
    limit_arenas()
all_have_some = threading.Barrier(13)

def take_memory():
    blocks = [bytes(500) for _ in range(2000)]
    all_have_some.wait()

threads = [threading.Thread(target=take_memory) for _ in range(12)]
for thread in threads:
    thread.start()
all_have_some.wait()
lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
starts = [int(words[0].partition("-")[0], 16) for words in lines if len(words) == 5]  # of anonymous memory
print(sum(start % 2**26 == 0 for start in starts))  # the arena of a thread reserves 64 MB, at a multiple of them
for thread in threads:
    thread.join()
"""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_holes_between_living_blocks_are_given_back() -> None:
    # 200 MB, each below malloc's own limit for "large"
    blocks = [bytearray(b"x" * 100_000) for _ in range(2000)]
    kept = blocks[::20]  # malloc by itself gives back only what lies above the last living block
    del blocks
    before = resident_bytes()
    release_free_memory()
    assert before - resident_bytes() > 100e6
    assert all(block[:1] == b"x" for block in kept)


def arenas_of_twelve_threads(how: str) -> int:
    words = [sys.executable, "-c", MANY_THREADS, how]
    every_block = {"PYTHONMALLOC": "malloc"}  # Python's own allocator has no arena for each thread
    return int(
        subprocess.run(words, capture_output=True, text=True, check=True, env=every_block).stdout
    )


def test_threads_share_two_arenas() -> None:
    assert arenas_of_twelve_threads("limited") <= 2 < arenas_of_twelve_threads("free")
