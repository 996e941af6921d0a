"""A folder of one's own pictures, with or without attributes, as tensors of one size.

Pictures lie anywhere below the root, or as CelebA's do: in ``img_align_celeba/``, with tables of attributes and of the
split beside it (`ecmvae.data.attribute_table`). Without a table, the sub-folders of the root are the classes, if every
picture lies in one. A picture that cannot be read is named in a warning and left out.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from ecmvae.data.attribute_table import MAX_CATEGORIES, Column, read_partition, read_tables
from ecmvae.data.picture_files import is_grey, read_picture
from ecmvae.errors import UserError, check_range
from ecmvae.files import show_path
from ecmvae.foreign_text import cut

logger = logging.getLogger(__name__)

Split = Literal["train", "valid", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""What counts as a picture; case does not matter."""

MAX_PICTURES = 1_000_000
"""Files of a folder."""
MAX_BYTES = 8 * 2**30
"""Bytes of the pictures of one split in memory."""
MIN_SIZE, MAX_SIZE = 4, 1024
"""Height and width that can be asked for, in pixels."""

_CELEBA = "img_align_celeba"


@dataclass(frozen=True)
class _Read:
    """Pictures of one split that could be read: their places in the split's list, and their pixels."""

    kept: list[int]
    images: UInt8[Tensor, "n *event"]


class PictureFolder:
    """Pictures (n, C, size, size) as uint8 and a table of their attributes, split into train, valid and test.

    A partition file decides the split; without one, a tenth of the pictures (by a hash of their names, so that
    adding some moves few) is the test set and another tenth the validation set. Every picture is cropped to its central
    square and resized with antialiasing. Pixels are read on first use and kept in memory, one byte a value.

    Attributes:
        root: The folder.
        size: Height and width in pixels.
        channels: 1 for grey pictures, 3 for RGB.
        attributes: Names of the table's columns of 0 and 1; ``Column=value`` for each value of a categorical one.
        factor_names: Names of all columns.
    """

    def __init__(
        self,
        root: str | Path,
        size: int = 64,
        grey: bool | None = None,
        *,
        limit: int | None = None,
        views: Sequence[str] = (),
    ) -> None:
        """List the pictures and read the tables.

        Args:
            root: The folder.
            size: Height and width of the tensors, in pixels.
            grey: Whether pictures become grey; None keeps grey if all are, else all become RGB.
            limit: Use only the first so many pictures of each split, in the order of their names.
            views: Sub-folders that show the same things, in files of equal names: `images` is then (n, M, C, H, W).

        Raises:
            UserError: If the folder does not exist or holds no pictures, or a table is malformed.
        """
        check_range("size", size, MIN_SIZE, MAX_SIZE)
        check_range("limit", 1 if limit is None else limit, 1, MAX_PICTURES)
        self.root, self.size = Path(root), size
        self._homes = [self.root / view for view in views]
        self._home, paths = _find(self._homes[0] if views else self.root)
        paths = self._seen_in_all(paths)
        self._columns, paths = _described(self.root, self._home, paths)
        self._paths = {
            name: chosen[:limit] for name, chosen in _split(self.root, self._home, paths).items()
        }
        self._read: dict[Split, _Read] = {}
        every = (
            file for chosen in self._paths.values() for path in chosen for file in self._files(path)
        )
        grey = all(map(is_grey, every)) if grey is None else grey
        self.channels = 1 if grey else 3
        self.attributes = [name for column in self._columns for name in column.attributes]
        self.factor_names = [column.name for column in self._columns]

    def images(self, split: Split) -> UInt8[Tensor, "n *event"]:
        """The pictures of a split, (n, C, H, W), or (n, M, C, H, W) of M views.

        Raises:
            UserError: If none can be read, or they do not fit into `MAX_BYTES`.
        """
        return torch.cat([self._load(each).images for each in _parts(split)])

    def names(self, split: Split) -> list[str]:
        """Path of each picture, relative to the folder that holds them, with slashes."""
        return [path.relative_to(self._home).as_posix() for path in self._kept(split)]

    def table(self, split: Split) -> UInt8[Tensor, "n a"]:
        """0 or 1 for each picture and each of `attributes`."""
        rows = [
            [
                value
                for column in self._columns
                for value in column.indicators(column.codes[self._key(path)])
            ]
            for path in self._kept(split)
        ]
        return torch.tensor(rows, dtype=torch.uint8).reshape(len(rows), len(self.attributes))

    def factors(self, split: Split) -> Int64[Tensor, "n f"]:
        """Code of each picture in each column of `factor_names`, from 0."""
        rows = [
            [column.codes[self._key(path)] for column in self._columns]
            for path in self._kept(split)
        ]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), len(self._columns))

    def values_of(self, factor: str) -> tuple[str, ...]:
        """What the codes of a column stand for.

        Raises:
            UserError: If the column does not exist; the message names the nearest one.
        """
        return self._columns[self.index_of(factor, self.factor_names)].values

    def index_of(self, name: str, names: Sequence[str] | None = None) -> int:
        """Place of an attribute among `attributes`, or of a column among `names`.

        Raises:
            UserError: If the attribute does not exist; the message names the nearest one.
        """
        known = self.attributes if names is None else names
        if name in known:
            return known.index(name)
        raise UserError(
            f"{show_path(self.root)} has no attribute {cut(name)!r}: {nearest_name(name, known)}"
        )

    def attribute(self, name: str, split: Split) -> Bool[Tensor, " n"]:
        """Which pictures have an attribute; some have it and some do not.

        Raises:
            UserError: If the attribute does not exist, or all or none of the pictures have it.
        """
        has = self.table(split)[:, self.index_of(name)].bool()
        if has.all() or not has.any():
            raise UserError(
                f"{'all' if len(has) and has.all() else 'none'} of the {len(has)} pictures ({split}) in "
                f"{show_path(self.root)} have the attribute {cut(name)}: add pictures of the other kind"
            )
        return has

    def _kept(self, split: Split) -> list[Path]:
        return [
            self._paths[each][index] for each in _parts(split) for index in self._load(each).kept
        ]

    def _key(self, path: Path) -> str:
        return path.relative_to(self._home).as_posix()

    def _load(self, split: Split) -> _Read:
        if split not in self._read:
            files = [self._files(path) for path in self._paths[split]]
            read = _load(files, self.size, self.channels, split)
            self._read[split] = read if self._homes else _Read(read.kept, read.images.flatten(0, 1))
        return self._read[split]

    def _files(self, path: Path) -> list[Path]:
        """The file of each view of a picture."""
        return [home / path.relative_to(self._home) for home in self._homes] or [path]

    def _seen_in_all(self, paths: list[Path]) -> list[Path]:
        """The pictures that every view shows."""
        kept = [path for path in paths if all(file.is_file() for file in self._files(path)[1:])]
        if not kept:
            raise UserError(
                f"no name of a picture is in all of {cut(', '.join(map(show_path, self._homes)))}"
            )
        if len(kept) < len(paths):
            logger.warning(
                "%d of %d pictures lack a view and are left out", len(paths) - len(kept), len(paths)
            )
        return kept


def nearest_name(name: str, known: Sequence[str]) -> str:
    """A hint for a message: the nearest of the known names, or what there is to choose from."""
    if not known:
        return "it has no attributes: add a table attributes.csv with a header such as image_id,Smiling"
    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[close[0]]}?" if close else f"choose from {cut(', '.join(known))}"


def _parts(split: Split) -> tuple[Split, ...]:
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split is one of {', '.join(SPLITS)} and all, got {split!r}")
    return SPLITS if split == "all" else (split,)


def _find(root: Path) -> tuple[Path, list[Path]]:
    """The folder that holds the pictures, and the pictures in the order of their names; hidden files are left out."""
    if not root.is_dir():
        raise UserError(f"{show_path(root)} is not a folder of pictures: give an existing folder")
    home = root / _CELEBA if (root / _CELEBA).is_dir() else root
    found: list[Path] = []
    for folder, folders, files in os.walk(home):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder) / name
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
        if len(found) > MAX_PICTURES:
            raise UserError(
                f"{show_path(home)} holds more than {MAX_PICTURES} pictures: give a smaller folder"
            )
    if not found:
        raise UserError(
            f"{show_path(home)} holds no pictures ({', '.join(SUFFIXES)}): give another folder"
        )
    return home, sorted(found, key=lambda path: path.relative_to(home).as_posix())


def _described(root: Path, home: Path, paths: list[Path]) -> tuple[list[Column], list[Path]]:
    """The columns of the tables by picture, and the pictures that every table describes."""
    table = read_tables(root)
    if table is None:
        return _classes(home, paths), paths
    for each in table.left_out:
        logger.warning(
            "%s: the column %s is not used, for it has more than %d",
            root,
            cut(each),
            MAX_CATEGORIES,
        )
    keyed = [_by_picture(home, paths, column) for column in table.columns]
    keys = {path: path.relative_to(home).as_posix() for path in paths}
    kept = [path for path in paths if all(keys[path] in column.codes for column in keyed)]
    if not kept:
        row = next(iter(table.columns[0].codes), "") if table.columns else ""
        raise UserError(
            f"the tables in {show_path(root)} describe none of its pictures ({cut(keys[paths[0]])!r} is a picture, "
            f"{cut(row)!r} a row): write the pictures' names into the first column"
        )
    if len(kept) < len(paths):
        first = min(set(paths) - set(kept))
        logger.warning("%s: %d of %d pictures have no row and are left out, the first is %s",
                       show_path(root), len(paths) - len(kept), len(paths), show_path(first))  # fmt: skip
    return keyed, kept


def _by_picture(home: Path, paths: Sequence[Path], column: Column) -> Column:
    """The column with the pictures' relative paths as keys."""
    return Column(column.name, column.values, _matched(home, paths, column.codes), column.binary)


def _matched(home: Path, paths: Sequence[Path], rows: Mapping[str, int]) -> dict[str, int]:
    """Values of a table by the pictures' relative paths: a row names that, or a file name that is there once."""
    by_name = defaultdict[str, list[str]](list)
    for path in paths:
        by_name[path.name].append(path.relative_to(home).as_posix())
    found = {}
    for row, value in rows.items():
        name = row.removeprefix("./")
        same = by_name.get(Path(name).name, [])
        key = name if name in same else name.removeprefix(f"{_CELEBA}/")
        if key in same:
            found[key] = value
        elif len(same) == 1 and "/" not in name:
            found[same[0]] = value
    return found


def _classes(home: Path, paths: Sequence[Path]) -> list[Column]:
    """The sub-folders as a column, if every picture lies in one of at least two."""
    parts = {path.relative_to(home).as_posix(): path.relative_to(home).parts for path in paths}
    names = sorted({each[0] for each in parts.values()})
    if not 2 <= len(names) <= MAX_CATEGORIES or any(len(each) == 1 for each in parts.values()):
        return []
    return [
        Column(
            "folder",
            tuple(names),
            {key: names.index(each[0]) for key, each in parts.items()},
            binary=False,
        )
    ]


def _split(root: Path, home: Path, paths: Sequence[Path]) -> dict[Split, list[Path]]:
    """The pictures of each split, in the order of their names."""
    partition = read_partition(root)
    keys = [path.relative_to(home).as_posix() for path in paths]
    if partition is None:
        ranked = sorted(keys, key=lambda key: hashlib.sha256(os.fsencode(key)).digest())
        tenth = -(-len(keys) // 10)
        test, valid = (tenth, tenth) if len(keys) >= 3 else (len(keys) - 1, 0)
        code = {
            key: 2 if rank < test else 1 if rank < test + valid else 0
            for rank, key in enumerate(ranked)
        }
    else:
        code = _matched(home, paths, partition)
    chosen = {
        split: [p for p, key in zip(paths, keys, strict=True) if code.get(key) == i]
        for i, split in enumerate(SPLITS)
    }
    if not chosen["train"]:
        raise UserError(
            f"the partition file in {show_path(root)} leaves no training pictures: write 0 for some"
        )
    return chosen


def _load(files: Sequence[Sequence[Path]], size: int, channels: int, split: Split) -> _Read:
    """The views of each picture, (n, M, C, H, W)."""
    views = len(files[0]) if files else 1
    needed = len(files) * views * channels * size * size
    if needed > MAX_BYTES:
        raise UserError(
            f"{len(files)} pictures of {size} x {size} pixels need {needed / 2**30:.1f} GB of memory, the limit is "
            f"{MAX_BYTES // 2**30}: set a smaller size, or a limit on their number"
        )
    images = torch.empty(len(files), views, size, size, channels, dtype=torch.uint8)

    def read(index: int) -> str | None:
        try:
            for view, path in enumerate(files[index]):
                images[index, view] = torch.from_numpy(read_picture(path, size, channels))
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        faults = list(pool.map(read, range(len(files))))
    kept = [index for index, fault in enumerate(faults) if fault is None]
    for fault in [each for each in faults if each][:5]:
        logger.warning("left out: %s", fault)
    if len(kept) < len(files) - 5:
        logger.warning("left out: %d more of %d pictures", len(files) - 5 - len(kept), len(files))
    if files and not kept:
        raise UserError(f"none of the {len(files)} pictures ({split}) can be read; {faults[0]}")
    images = images[kept] if len(kept) < len(files) else images
    return _Read(kept, images.permute(0, 1, 4, 2, 3).contiguous())
