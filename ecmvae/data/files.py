"""Files appear whole or not at all: write to a temporary name in the same folder, then rename."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well and vanishes when it does not.

    The temporary name is hidden, carries this process's id (two processes never share one) and keeps the suffix, by
    which libraries choose a format. The block may make a file or a folder of that name; a folder replaces nothing but
    an older folder of our own kind.

    Args:
        path: Where the finished file or folder shall lie. Missing parent folders are made.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    key = zlib.crc32(os.fsencode(path.name))  # two long names may begin alike
    temporary = path.with_name(f".{path.stem[:30]}.{key:08x}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)  # rename cannot put a folder over one that is not empty
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
