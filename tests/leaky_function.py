"""A job for `campaigns.worker` that leaves a file open each time."""

from io import BufferedReader
from pathlib import Path

_OPEN: list[BufferedReader] = []


def leaky(words: list[str]) -> int:
    """Open the file that the word names."""
    _OPEN.append(Path(words[0]).open("rb"))  # noqa: SIM115  # on purpose
    return 0
