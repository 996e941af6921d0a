"""Where commands print their tables: as wide as the terminal, and with whole lines in a pipe or a file."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WHOLE_LINES = 10_000
"""Columns of a pipe, which has no width of its own: rich would take 80 and wrap or cut what is longer."""


def output_console() -> Console:
    """A console on standard output.

    A table takes the terminal's width. Where the output is not a terminal, every row is one line, however long, so that
    `grep` and `awk` find what belongs together; the environment variable COLUMNS sets another width.
    """
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=_WHOLE_LINES)
