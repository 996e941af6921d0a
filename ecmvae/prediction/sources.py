"""From the sources of the command line (files, folders, globs, lists) to a plain list of videos."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import LARGE, read_text, short

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".gif",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
    }
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""What is taken for a video inside a folder; a file that is named itself may have any suffix."""


@dataclass(frozen=True)
class Source:
    """One video to look at.

    Attributes:
        path: Where it lies.
        label: Name of its outputs without their endings, relative to the output folder; a folder's inner structure is
            kept; videos that would share a name are told apart by their folders, then by their suffixes.
    """

    path: Path
    label: Path


def is_live(name: str) -> bool:
    """Whether a source is a camera's number or an address; a file of that name is a file."""
    return ("://" in name or (name.isascii() and name.isdecimal())) and not os.path.lexists(name)


def refuse_beside_live(names: Sequence[str], given: Mapping[str, bool]) -> None:
    """Check that a camera or stream stands alone, without options for many files.

    Args:
        names: All sources.
        given: Names of such options, and whether they were given.

    Raises:
        UserError: If it does not.
    """
    if len(names) > 1:
        raise UserError("a camera or stream goes alone: start a process for each")
    if idle := [name for name, value in given.items() if value]:
        raise UserError(f"--{idle[0]} has no effect on a camera or stream: leave it out")


def refuse_missing(names: Sequence[str]) -> None:
    """Check, before anything slow is imported, that at least one of the names may be a source.

    Raises:
        UserError: When none of them exists or is a glob pattern.
    """
    if not any(glob.has_magic(name) or os.path.lexists(name) for name in names):
        raise UserError(f"{show_path(Path(names[0]))} does not exist: check the path")


def resolve_sources(names: Sequence[str], *, leave_out: Iterable[str] = ()) -> list[Source]:
    """Find the videos behind the names.

    Args:
        names: Each a file, a folder (searched with its sub-folders), a glob pattern, or a `.txt` file with one path a
            line (relative to the list; `#` starts a comment), whose missing entries are returned, to fail one by one.
        leave_out: Endings of files in folders and globs that are not sources but outputs of an earlier run.

    Returns:
        The videos in the order of the names, inside a folder by name; a video named twice is taken once.

    Raises:
        UserError: When a name matches nothing or may not be read, or two videos' outputs would have the same name.
    """
    endings = tuple(leave_out)
    found: dict[
        str, tuple[Path, Path]
    ] = {}  # where it lies -> its path as given, output name with suffix
    named = 0
    for name in names:
        try:
            for path, label in _expand(name, endings):
                found.setdefault(_place(path), (path, label))
                named += 1
        except OSError as error:  # it may not be entered, or its name is too long
            shown = show_path(Path(name))
            raise UserError(
                f"cannot read {shown} ({error.strerror}): check the path and its permissions"
            ) from error
    if named > len(found):
        logger.warning(
            "%d of %d sources name a video again: it is done once", named - len(found), named
        )
    labels = _told_apart(list(found.values()))
    stems = Counter(label.with_suffix("") for _, label in labels)
    taken: dict[Path, Source] = {}
    for path, label in labels:
        stem = label.with_suffix("")
        source = Source(path, label if stems[stem] > 1 else stem)
        if source.label in taken:
            raise UserError(
                f"{show_path(taken[source.label].path)} and {show_path(path)} would both be written as "
                f"{show_path(source.label)}: run them into different folders"
            )
        taken[source.label] = source
    return list(taken.values())


def _place(path: Path) -> str:
    """The same text for every spelling of a path; a link is a place of its own."""
    if ".." not in path.parts:
        return os.path.abspath(path)  # noqa: PTH100  # Path.resolve follows links
    return str(path.parent.resolve() / path.name)


def _told_apart(found: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Names that several videos share become their paths below the deepest folder that holds all of these."""
    counts = Counter(label for _, label in found)
    shared = [_place(path) for path, label in found if counts[label] > 1]
    if not shared:
        return found
    folder = os.path.commonpath([os.path.dirname(place) for place in shared])  # noqa: PTH120
    return [
        (path, Path(os.path.relpath(_place(path), folder)) if counts[label] > 1 else label)
        for path, label in found
    ]


def _expand(name: str, endings: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
    path = Path(name)
    if path.is_dir():
        videos = sorted(
            each
            for each in path.rglob("*")
            if each.suffix.lower() in VIDEO_SUFFIXES
            and not each.name.startswith(".")
            and not each.name.endswith(endings)
            and each.is_file()
        )
        if not videos:
            raise UserError(f"there is no video in the folder {show_path(path)}")
        yield from ((each, each.relative_to(path)) for each in videos)
    elif path.suffix.lower() == ".txt" and path.is_file():
        yield from _listed(path, endings)
    elif not path.exists() and glob.has_magic(name):
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob refuses absolute patterns
        matches = [each for each in found if not each.endswith(endings)]
        if not matches:
            raise UserError(
                f"no file matches {show_path(path)}: check the pattern, and quote it against the shell"
            )
        for match in matches:
            if Path(match).is_file():
                yield Path(match), Path(Path(match).name)
    else:
        yield path, Path(path.name)  # whether it is a video is seen when it is opened


def _listed(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
    lines = read_text(path, LARGE).splitlines()
    entries = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not entries:
        raise UserError(f"{show_path(path)} lists no video: write one path a line")
    for entry in entries:
        if Path(entry).suffix.lower() == ".txt":
            raise UserError(f"{show_path(path)} lists another list ({short(entry)}): name videos")
        target = str(path.parent / entry)
        try:
            matches = list(_expand(target, endings))
        except (UserError, OSError):  # it fails when its turn comes, and the others are done
            matches = [(Path(target), Path(Path(target).name))]
        yield from matches
