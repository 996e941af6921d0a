"""`ecmvae check-data`: its signature for the command line; the work is imported when it starts."""

from __future__ import annotations

from pathlib import Path

from ecmvae.data.sets.records import RECORDS
from ecmvae.errors import UserError


def check_data(
    root: str, task: str = "auto", splits: list[str] | None = None, out: str | None = None, workers: int = 4
) -> int:
    """Name what is missing, truncated or odd in a data set.

    Reads every file of every clip once. Errors end with exit code 2; warnings (silent clips, empty masks, grey
    pixels in masks, frames that two splits share, counts that differ from the release) do not. Where the folder or its
    table is missing, it says how to obtain the data set, and under which licence.

    Args:
        root: Folder that holds Single-source or Multi-sources, or AVSBench-semantic's metadata.csv; or what another
            data set takes as data.root.
        task: A data set by name (s4, ms3, avss, vpo_ss, vpo_ms, vpo_msmi, is3, is3_boxes, vggss, vggss_extended,
            aviseg, refavs) or as package.module:load; or auto: all that the folder holds.
        splits: Only these; None = all of a table, train and val of a data set that has a loader only.
        out: Write everything found to this JSON file.
        workers: Threads that read files.

    Returns:
        0, or 2 when there are errors.

    Raises:
        UserError: If the folder holds no known table, a table is wrong, or the data set cannot be loaded.
    """
    if task in RECORDS and not Path(root).is_dir():
        raise UserError(f"{root}: there is no such folder; {RECORDS[task].how_to_obtain}")
    if not Path(root).is_dir():
        raise UserError(f"{root}: there is no such folder; see docs/data.md for the expected folders")
    from ecmvae.data.check import check_folder

    return check_folder(root, task, splits, out, workers)
