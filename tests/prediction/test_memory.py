"""Freed memory goes back to the system."""

import platform
import resource
from pathlib import Path

import pytest

from ecmvae.prediction.inference import release_free_memory


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_holes_between_living_blocks_are_given_back() -> None:
    blocks = [bytearray(b"x" * 100_000) for _ in range(2000)]  # 200 MB, each below malloc's own limit for "large"
    kept = blocks[::20]  # malloc by itself gives back only what lies above the last living block
    del blocks
    before = resident_bytes()
    release_free_memory()
    assert before - resident_bytes() > 100e6
    assert all(block[:1] == b"x" for block in kept)
