"""`ecmvae check-data` and `ecmvae data`: signatures for the command line; the work is imported when it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecmvae.data.sets.records import RECORDS
from ecmvae.errors import UserError, check_range
from ecmvae.files import refuse_unwritable, show_path


def check_data(
    root: str,
    task: str = "auto",
    splits: list[str] | None = None,
    out: str | None = None,
    workers: int = 4,
) -> int:
    """Report what is missing, truncated or suspicious in a data set.

    Reads every file of every clip once. Errors give exit code 2; warnings (silent clips, empty masks, grey pixels in
    masks, frames that occur in two splits, counts that differ from the release) do not. If the folder or its table is
    missing, it says how to obtain the data set, and its licence.

    Args:
        root: Folder that holds Single-source or Multi-sources, or AVSBench-semantic's metadata.csv; or what another
            data set takes as data.root.
        task: A data set by name (s4, ms3, avss, vpo_ss, vpo_ms, vpo_msmi, is3, is3_boxes, vggss, vggss_extended,
            aviseg, refavs) or as package.module:load; or auto: all that the folder holds.
        splits: Only these; None = all in the table, or train and val for a data set that is loaded by a function.
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
        raise UserError(
            f"{root}: there is no such folder; see docs/data.md for the expected folders, or write an example with "
            "ecmvae data miniature"
        )
    from ecmvae.data.check import check_folder

    return check_folder(root, task, splits, out, workers)


def pack(
    root: str,
    out: str = "packed",
    task: str = "auto",
    splits: list[str] | None = None,
    image_size: int = 224,
    num_frames: int | None = None,
    hop_seconds: float = 0.96,
    workers: int = 2,
) -> int:
    """Pack the clips of a data set into a few files that training reads many times as fast as pictures.

    Repeating the command verifies existing files, packs what is missing or damaged, and keeps the rest.

    Args:
        root: Folder of the data set, as for check-data.
        out: Folder of the packed clips, created if missing; pass it as data.root.
        task: s4, ms3, avss, any other data set by name or as package.module:load, or auto: the one that root holds.
        splits: Only these; None = all in the table, or train and val for a data set that is loaded by a function.
        image_size: Side of the packed frames in pixels; data.image_size must be the same.
        num_frames: Frames of a clip; None = 5, for avss 10. data.num_frames must be the same.
        hop_seconds: Seconds between two frames' sounds; data.hop_seconds must be the same.
        workers: Processes that read files.

    Returns:
        0.

    Raises:
        UserError: If the data set cannot be packed or read, or out holds something else.
    """
    if not Path(root).is_dir():
        raise UserError(
            f"{root}: there is no such folder; see docs/data.md for the expected folders, or write an example with "
            "ecmvae data miniature"
        )
    check_range("image_size", image_size, 32, 4096)
    check_range("num_frames", 5 if num_frames is None else num_frames, 1, 1000)
    check_range("workers", workers, 1, 256)
    from ecmvae.data.packing import pack_data

    pack_data(root, out, task, splits, image_size, num_frames, hop_seconds, workers)
    return 0


def miniature(
    out: Path, name: str | None = None, collage: Path | None = None, train: int = 4, test: int = 2
) -> int:
    """Write small data sets in the exact layouts of the released ones, to try every command with.

    Examples:
        ecmvae data miniature mini
        ecmvae data miniature mini --collage data/collage
        ecmvae data miniature mini_vpo --name vpo_ss

    Nothing is downloaded: the clips show moving shapes, each with its own sound.

    Args:
        out: Folder to write; it must be empty or not exist.
        name: Write this data set (vpo_ss, vpo_ms, vpo_msmi, is3, vggss, vggss_extended, aviseg, refavs) instead of
            AVSBench's three, which are s4, ms3 and avss.
        collage: Take the scenes from this AVS-Collage on disk: real photographs and recordings.
        train: Number of training clips in each set.
        test: Number of validation and of test clips in each set.

    Returns:
        0.

    Raises:
        UserError: If there is no such data set, the folder is not empty, or the AVS-Collage cannot be read.
    """
    check_range("train", train, 1, 100_000)
    check_range("test", test, 1, 100_000)
    refuse_unwritable(out / "clips")
    if name is not None and collage is not None:
        raise UserError("--collage has no effect with --name: leave one of them out")
    from ecmvae.data.miniature import write_miniatures
    from ecmvae.data.sets.miniature import write_set

    if name is None:
        write_miniatures(out, {"train": train, "val": test, "test": test}, collage)
    else:
        splits = RECORDS[name].splits if name in RECORDS else ()  # write_set names the right ones
        write_set(out, name, {each: train if each == "train" else test for each in splits})
    print(f"{show_path(out)}: {name or 'Single-source, Multi-sources and AVSS'} written")
    return 0


DATA_COMMANDS: dict[str, Callable[..., int]] = {
    "pack": pack,
    "check": check_data,
    "miniature": miniature,
}
"""Sub-command of `ecmvae data` -> function; its typed arguments are the command's options."""
