"""What a record's table comes to: a row a clip with the paths of its files, and the truth of each of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ecmvae.data.images import read_indices, read_mask, read_probability, same_size
from ecmvae.data.layout import names_a_file, of_split
from ecmvae.data.rle import decode
from ecmvae.data.sets.records import DataSetRecord
from ecmvae.errors import UserError
from ecmvae.foreign_text import short
from ecmvae.registry import import_object

IGNORED = 255
"""Value of an unlabelled pixel; no metric counts it."""

_FARTHEST = 1e6
"""Edges of boxes lie nearer than this to the picture."""

NEGATIVE = "non-sounding"
"""Category of a clip in which nothing that is seen sounds."""

BOX_SIDE = 224
"""Boxes are painted on a square of so many pixels, as the released evaluations of VGG-SS and IS3 do."""


@dataclass(frozen=True)
class MaskFiles:
    """Pictures of the same size; what is marked in any of them is marked, the last one wins.

    Attributes:
        paths: The pictures: masks, or numbers of classes.
        classes: Class number by the value of a pixel; None = any value but 0 is 1.
    """

    paths: tuple[Path, ...]
    classes: dict[int, int] | None = None

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """The class numbers (H, W)."""
        maps = same_size(self.paths, [self._read(path) for path in self.paths])
        merged = np.zeros_like(maps[0])
        for each in maps:
            merged = np.where(each > 0, each, merged)
        return merged

    def _read(self, path: Path) -> UInt8[np.ndarray, "h w"]:
        if self.classes is None:
            lossy = path.suffix in (".jpg", ".jpeg")
            return (read_probability(path) > 0.5 if lossy else read_mask(path)).astype(np.uint8)
        values = read_indices(path)
        table = np.full(256, -1)
        table[[0, IGNORED, *self.classes]] = [0, IGNORED, *self.classes.values()]
        numbers = table[values]
        if (numbers < 0).any():
            y, x = np.argwhere(numbers < 0)[0]
            raise UserError(f"{path}: value {values[y, x]} at ({x}, {y}) belongs to no class")
        return numbers.astype(np.uint8)


@dataclass(frozen=True)
class Boxes:
    """Boxes as fractions (left, top, right, bottom) of the picture; what lies in any of them is marked."""

    boxes: tuple[tuple[float, float, float, float], ...]
    paths: tuple[Path, ...] = ()

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """The boxes on a square of `BOX_SIDE` pixels; what reaches beyond the picture is cut."""
        marked = np.zeros((BOX_SIDE, BOX_SIDE), np.uint8)
        for box in self.boxes:
            left, top, right, bottom = (np.clip(box, 0, 1) * BOX_SIDE).astype(int)
            marked[top:bottom, left:right] = 1
        return marked


@dataclass(frozen=True)
class RunLengths:
    """Run-length masks of COCO's form, as they stand in a JSON file."""

    masks: tuple[Any, ...]
    size: tuple[int, int]
    where: str
    paths: tuple[Path, ...] = ()

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """1 where any of them marks something; without masks, nothing sounds."""
        marked = np.zeros(self.size, bool)
        for mask in self.masks:
            marked |= decode(mask, self.size, self.where)
        return marked.astype(np.uint8)


Truth = MaskFiles | Boxes | RunLengths
"""The ground truth of one frame: `paths` are the files that it is read from. `read` gives 0 where nothing sounds, else
the number of the class, 1 without classes, and `IGNORED` where it is unlabelled."""


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """One clip.

    Attributes:
        name: Unique in the data set.
        split: Of the data set.
        frames: Paths of its pictures.
        sounds: Paths of its recordings, which are heard together.
        truths: Of each frame; None where the release has none.
        category: Class of what sounds, where there is one.
        seen: Classes that are known to be in the picture.
        picture: Names the picture, where several clips share it with other sounds; else "".
        lines: Lines of the table that the clip was made of.
    """

    name: str
    split: str
    frames: tuple[Path, ...]
    sounds: tuple[Path, ...]
    truths: tuple[Truth | None, ...]
    category: str = ""
    seen: tuple[str, ...] = ()
    picture: str = ""
    lines: int = 1


def read_rows(record: DataSetRecord, root: str | Path, split: str | None = None) -> list[ClipRow]:
    """The clips of a data set, of one split or all that lie there, in the order of its table.

    Raises:
        UserError: If the table is missing (then with how to obtain the data set), malformed, names a file outside the
            root, or has no clip of the split.
    """
    read = import_object(record.rows)
    table = record.table(root, split if "{split}" in record.tables[0] else None)
    rows: list[ClipRow] = read(record, Path(root), split)
    return of_split(rows, split, table)


def part_of_path(value: object, where: str) -> str:
    """`value` as one part of a path.

    Raises:
        UserError: If it is not text, is empty or too long, or would leave its folder.
    """
    if not names_a_file(value):
        raise UserError(f"{where}: {short(value)} cannot name a file")
    return str(value)


def json_rows(value: object, keys: Sequence[str], path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects that have these keys.

    Raises:
        UserError: Naming the first row that is otherwise.
    """
    if not isinstance(value, list) or not value:
        raise UserError(f"{path}: must hold a list of objects with {', '.join(keys)}")
    for number, row in enumerate(value):
        if not isinstance(row, dict) or (missing := [key for key in keys if key not in row]):
            lacking = (
                f"it lacks {missing[0]!r}" if isinstance(row, dict) else f"it is {short(row, 40)}"
            )
            raise UserError(f"{path}, row {number}: {lacking}")
    return value


def box_of(value: object, scale: int, where: str) -> tuple[float, float, float, float]:
    """Four numbers of a JSON file, over `scale`, as a box.

    Raises:
        UserError: If it is anything else, or is empty or upside down.
    """
    edges = value if isinstance(value, list) and len(value) == 4 else []
    if not edges or not all(type(each) in (int, float) and abs(each) < _FARTHEST for each in edges):
        raise UserError(
            f"{where}: {short(value)} is not a box of four numbers (left, top, right, bottom)"
        )
    left, top, right, bottom = (each / scale for each in edges)
    if left >= right or top >= bottom:
        raise UserError(f"{where}: the box {short(value)} has no area")
    return left, top, right, bottom
