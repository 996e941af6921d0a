"""Where AVSBench keeps its files: the released folder layouts of S4 (Single-source) and MS3 (Multi-sources).

Zhou et al., "Audio-visual segmentation", ECCV 2022 (arXiv:2207.05042). AVS-Collage is written in the same layouts, with
two additions: a tree `object_masks/` beside `gt_masks/` and a `clips.json` beside the table. Everything that differs
between the two tasks is in this file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.foreign_text import LARGE, cut, read_text, short

TaskName = Literal["s4", "ms3"]
Row = TypeVar("Row", bound=Any)

_LONGEST_NAME = 200
"""Bytes of a part of a path; with a suffix it stays below the 255 of common file systems."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """How one of the two tasks is laid out: in the root its folder, and in that the csv and the folder of clips."""

    folder: str
    table: str
    data: str
    name_column: str
    """Column of the csv that names a clip."""
    category_column: str
    """Column that names its class, "" where the task has none."""

    def row(self, clip: ClipFiles) -> dict[str, str]:
        """The row of the csv that names a clip, with the release's columns."""
        if not self.category_column:
            return {self.name_column: clip.name, "split": clip.split}
        return {
            self.name_column: clip.name,
            "start": "0",
            self.category_column: clip.category,
            "split": clip.split,
        }


FRAMES = 5
"""Frames of a clip of S4 and MS3, one a second."""

TASKS: dict[str, Task] = {
    "s4": Task(
        folder="Single-source",
        table="s4_meta_data.csv",
        data="s4_data",
        name_column="name",
        category_column="category",
    ),
    "ms3": Task(
        folder="Multi-sources",
        table="ms3_meta_data.csv",
        data="ms3_data",
        name_column="video_id",
        category_column="",
    ),
}


@dataclass(frozen=True, kw_only=True)
class ClipFiles:
    """One row of the table and where the clip's files lie."""

    base: Path
    """The folder `s4_data` or `ms3_data`."""
    task: str
    """s4 or ms3."""
    name: str
    split: str
    category: str
    """Its class, "" in MS3."""

    @property
    def place(self) -> Path:
        """The clip's path inside a tree, without a suffix: split/category/name or split/name."""
        return Path(self.split, self.category, self.name)

    def frame(self, k: int) -> Path:
        """The picture of frame `k`, counted from 1. MS3 has no split folder here and ".mp4" inside the name."""
        if self.task == "ms3":
            return self.base / "visual_frames" / self.name / f"{self.name}.mp4_{k}.png"
        return self.base / "visual_frames" / self.place / f"{self.name}_{k}.png"

    def mask(self, k: int, tree: str = "gt_masks") -> Path:
        """The mask of frame `k`, counted from 1, in `gt_masks` or `object_masks`."""
        return self.base / tree / self.place / f"{self.name}_{k}.png"

    @property
    def wav(self) -> Path:
        """The sound, 16 kHz."""
        return self.base / "audio_wav" / f"{self.place}.wav"

    @property
    def log_mel(self) -> Path:
        """The pickled log-mel patches."""
        return self.base / "audio_log_mel" / f"{self.place}.pkl"

    @property
    def raw_video(self) -> Path:
        """The video the clip was taken from."""
        place = Path(self.name) if self.task == "ms3" else self.place
        return self.base / "raw_videos" / f"{place}.mp4"


def tasks_in(root: str | Path) -> list[str]:
    """The tasks whose table lies under `root`."""
    return [name for name in TASKS if _table(Path(root), name) is not None]


def find_table(root: str | Path, task: str) -> Path:
    """Path of a task's csv: in `root` itself or in the task's folder inside it; a `UserError` if there is none."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds {TASKS[task].folder}")
    table = _table(root, task)
    if table is None:
        wanted = f"{TASKS[task].folder}/{TASKS[task].table}"
        raise UserError(
            f"{root}: holds no {wanted}; see docs/data.md for the expected folders, or write an example with "
            "ecmvae data miniature"
        )
    return table


def read_clips(root: str | Path, task: str, split: str | None = None) -> list[ClipFiles]:
    """The clips of a task ("s4" or "ms3"), of one split or all, in the order of its csv; `root` as for `find_table`.

    Raises:
        UserError: If the csv is missing, lacks a column or names a clip outside the data set, or the split is empty.
    """
    table = find_table(root, task)
    layout = TASKS[task]
    clips = [
        ClipFiles(
            base=table.parent / layout.data,
            task=task,
            name=row[layout.name_column],
            split=row["split"],
            category=row.get(layout.category_column, ""),
        )
        for row in read_table(
            table, [name for name in (layout.name_column, layout.category_column, "split") if name]
        )
    ]
    return of_split(clips, split, table)


def of_split(clips: list[Row], split: str | None, table: Path) -> list[Row]:
    """The clips of one split, or all; a `UserError` if there are none."""
    if not clips:
        raise UserError(f"{table}: has no rows")
    chosen = [clip for clip in clips if split in (None, clip.split)]
    if not chosen:
        known = ", ".join(dict.fromkeys(clip.split for clip in clips))
        raise UserError(f"{table}: no clip has split {split!r}; choose from {cut(known)}")
    return chosen


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a csv as dictionaries of the named columns, every value safe to use as one part of a path.

    Raises:
        UserError: For a column that is missing, or for a value that is empty or would leave its folder.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, LARGE, "utf-8-sig"), newline=""))
        found = reader.fieldnames or []
        missing = [column for column in columns if column not in found]
        if missing:
            raise UserError(
                f"{path}: column {missing[0]!r} is missing, found {cut(', '.join(found)) or 'none'}"
            )
        rows = []
        for row in reader:
            rows.append({column: row[column] for column in columns})
            for column, value in rows[-1].items():
                if not names_a_file(value):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {column} {short(value)} cannot name a file"
                    )
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as csv ({error})") from error
    return rows


def names_a_file(value: object) -> bool:
    """Whether `value` can be one part of a path: text that stays in its folder, and that a file system takes."""
    if (
        not isinstance(value, str)
        or value in ("", ".", "..")
        or any(each in "/\\\0" for each in value)
    ):
        return False
    return value.isprintable() and len(value.encode()) <= _LONGEST_NAME


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as the csv that `read_table` reads."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _table(root: Path, task: str) -> Path | None:
    layout = TASKS[task]
    candidates = (root / layout.table, root / layout.folder / layout.table)
    return next((path for path in candidates if path.is_file()), None)
