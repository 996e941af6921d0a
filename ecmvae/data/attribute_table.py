"""Attribute tables of picture folders: CelebA's text form, or a csv with one row a picture.

CelebA: Liu et al., "Deep learning face attributes in the wild", 2015 (arXiv:1411.7766). A table comes from strangers:
its size, its columns and its values are limited, and whatever is wrong with it is one `UserError` that names the line.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import LARGE, cut, read_text, short

TABLES = ("list_attr_celeba.txt", "list_attr_celeba.csv", "attributes.csv")
"""Files in the root of a folder that hold attributes; the columns of several are joined by the picture's name."""

PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
"""Files in the root of a folder that hold each picture's split: 0 training, 1 validation, 2 test."""

MAX_COLUMNS = 1_000
"""Columns of a table."""

MAX_CATEGORIES = 100
"""Different values of a categorical column; one with more is left out."""

_FALSE_TRUE = (("-1", "1"), ("0", "1"), ("false", "true"), ("no", "yes"))
"""Pairs of values that make a column binary, compared in lower case."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: From the header.
        values: What the codes stand for; of a binary column "0" and "1".
        codes: Picture -> index into `values`.
        binary: Whether it says that a picture has or lacks something.
    """

    name: str
    values: tuple[str, ...]
    codes: Mapping[str, int]
    binary: bool

    @property
    def attributes(self) -> list[str]:
        """Names of its columns of 0 and 1: its own name, or ``Name=value`` for each value of a categorical one."""
        return [self.name] if self.binary else [f"{self.name}={value}" for value in self.values]

    def indicators(self, code: int) -> list[int]:
        """The row of 0 and 1 that a code stands for, one number for each of `attributes`."""
        return [code] if self.binary else [int(code == index) for index in range(len(self.values))]


@dataclass(frozen=True)
class AttributeTable:
    """The usable columns of a folder's tables, and the names of those that were left out, with the reason."""

    columns: list[Column]
    left_out: list[str]


def read_tables(root: Path) -> AttributeTable | None:
    """Read and join the attribute tables of a folder; None without one.

    A column of the values 1 / -1, 0 / 1, true / false or yes / no is binary, any other one is categorical. A column
    that holds more than `MAX_CATEGORIES` different values is left out.

    Args:
        root: The folder.

    Raises:
        UserError: If a table is malformed, names a picture twice, or has an empty cell or NaN.
    """
    columns: dict[str, Column] = {}
    left_out = []
    found = [root / name for name in TABLES if (root / name).is_file()]
    for path in found:
        header, rows = _read(path)
        for number, name in enumerate(header):
            cells = {picture: row[number] for picture, row in rows.items()}
            if name in columns:
                continue
            column = _column(name, cells)
            if column is None:
                left_out.append(f"{name} ({len(set(cells.values()))} different values)")
            else:
                columns[name] = column
    return AttributeTable(list(columns.values()), left_out) if found else None


def read_partition(root: Path) -> dict[str, int] | None:
    """The split of each picture: 0 training, 1 validation, 2 test; None without such a file.

    Raises:
        UserError: If the file is malformed or holds another number.
    """
    for path in (root / name for name in PARTITIONS):
        if not path.is_file():
            continue
        splits = {}
        for line, (picture, *cells) in _lines(path):
            if cells not in (["0"], ["1"], ["2"]):
                if line == 1 and path.suffix == ".csv":
                    continue  # the header
                raise _fault(
                    path,
                    line,
                    f"{short(' '.join(cells))} is not a split: write 0, 1 or 2 for train, valid, test",
                )
            splits[picture] = int(cells[0])
        return splits
    return None


def _read(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Header without the picture's column, and the cells of each picture."""
    lines = _lines(path)
    header: list[str] = []
    for line, cells in lines:
        if path.suffix == ".txt" and line == 1:
            if len(cells) != 1 or not cells[0].isdecimal():
                raise _fault(path, line, "must hold the number of pictures, as CelebA's file does")
            continue
        header = cells if path.suffix == ".txt" else cells[1:]
        break
    if not header:
        raise UserError(
            f"{show_path(path)} has no columns of attributes: write a header such as image_id,Smiling"
        )
    if len(header) > MAX_COLUMNS:
        raise UserError(f"{show_path(path)} has {len(header)} columns: keep at most {MAX_COLUMNS}")
    repeated = [name for number, name in enumerate(header) if name in header[:number] or not name]
    if repeated:
        raise UserError(
            f"{show_path(path)}: the column {short(repeated[0])} is there twice or has no name: rename it"
        )
    rows: dict[str, list[str]] = {}
    for line, (picture, *cells) in lines:
        if len(cells) != len(header):
            raise _fault(
                path, line, f"has {len(cells)} values for {len(header)} attributes: correct it"
            )
        if picture in rows:
            raise _fault(path, line, f"{short(picture)} has a row already: delete one of the two")
        for name, cell in zip(header, cells, strict=True):
            if cell.lower() in ("", "nan", "null", "none", "?"):
                raise _fault(
                    path, line, f"{cut(name)} is {short(cell)}: fill the cell in, or delete the row"
                )
        rows[picture] = cells
    return header, rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that is not empty, without the blanks around a cell."""
    text = read_text(path, LARGE, "utf-8-sig")
    if path.suffix == ".txt":
        for number, line in enumerate(text.splitlines(), 1):
            if cells := line.split():
                yield number, cells
        return
    reader = csv.reader(io.StringIO(text, newline=""))
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _fault(path, reader.line_num, f"is not valid csv ({error}): correct it") from None
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _column(name: str, cells: Mapping[str, str]) -> Column | None:
    """A column, None if it has too many different values."""
    lower = {cell.lower() for cell in cells.values()}
    for pair in _FALSE_TRUE:
        if lower <= set(pair):
            codes = {picture: int(cell.lower() == pair[1]) for picture, cell in cells.items()}
            return Column(name, ("0", "1"), codes, binary=True)
    values = _ordered(set(cells.values()))
    if len(values) > MAX_CATEGORIES:
        return None
    index = {value: number for number, value in enumerate(values)}
    return Column(
        name, tuple(values), {picture: index[cell] for picture, cell in cells.items()}, binary=False
    )


def _ordered(values: set[str]) -> Sequence[str]:
    """Numbers by their size, words by the alphabet."""
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return sorted(values)
    return sorted(
        values,
        key=lambda value: (numbers[value] if math.isfinite(numbers[value]) else math.inf, value),
    )


def _fault(path: Path, line: int, text: str) -> UserError:
    return UserError(f"{show_path(path)}, line {line}: {text}")
