"""`ecmvae check-data`: its signature for the command line; the work is imported when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError


def check_data(
    root: str, task: Literal["auto", "s4", "ms3", "avss"] = "auto", out: str | None = None, workers: int = 4
) -> int:
    """Name what is missing, truncated or odd in a data folder.

    Reads every file of every clip once. Errors end with exit code 2; warnings (silent clips, empty masks, frames that
    two splits share, counts that differ from the release) do not.

    Args:
        root: Folder that holds Single-source or Multi-sources, or AVSBench-semantic's metadata.csv.
        task: s4, ms3, avss, or auto: all that the folder holds.
        out: Write everything found to this JSON file.
        workers: Threads that read files.

    Returns:
        0, or 2 when there are errors.

    Raises:
        UserError: When the folder holds no known table, or a table is wrong.
    """
    if not Path(root).is_dir():
        raise UserError(f"{root}: there is no such folder; see docs/data.md for the expected folders")
    from ecmvae.data.check import check_folder

    return check_folder(root, task, out, workers)
