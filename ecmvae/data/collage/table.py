"""The class table of AVS-Collage, ``classes.yaml`` in this folder, and the licence of each file in the packages."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, parse_yaml

PACKAGES = ("tuxpaint", "gcompris", "opensfx", "ovos", "timgm6mb")


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """One line of the table: an item that a package should contain."""

    kind: str
    category: str
    pool: str
    package: str
    path: str

    @property
    def id(self) -> str:
        """Package and file name, such as ``tuxpaint_dog``."""
        stem = re.sub(r"[^a-z0-9]+", "_", PurePosixPath(self.path).stem.lower()).strip("_")
        return f"{self.package}_{stem}"


@dataclass(frozen=True)
class CollageTable:
    """All entries, and a checksum of the table."""

    entries: tuple[TableEntry, ...]
    digest: str

    @classmethod
    def parse(cls, text: str, name: str) -> CollageTable:
        """Parse a table in the format of ``classes.yaml``.

        Raises:
            UserError: If an entry is not PACKAGE:PATH, names an unknown package, or appears twice.
        """
        try:
            entries = tuple(_entries(parse_yaml(text, name)))
        except (AttributeError, TypeError, KeyError) as error:
            raise UserError(f"{name}: is not a class table ({cut(str(error))})") from error
        seen: set[tuple[str, str]] = set()
        for entry in entries:
            if entry.package not in PACKAGES or not entry.path:
                item, known = f"{entry.package}:{entry.path}", ", ".join(PACKAGES)
                raise UserError(f"{name}: {item} is not PACKAGE:PATH with a package of {known}")
            if (entry.kind, entry.id) in seen:
                raise UserError(f"{name}: the {entry.kind} {entry.id} appears twice")
            seen.add((entry.kind, entry.id))
        return cls(entries, hashlib.sha256(text.encode()).hexdigest())


def packaged_table() -> CollageTable:
    """The table that ships with ecmvae."""
    text = (
        resources.files("ecmvae.data.collage").joinpath("classes.yaml").read_text(encoding="utf-8")
    )
    return CollageTable.parse(text, "classes.yaml")


_LISTS = {
    "images": ("image", "known"),
    "held_out_images": ("image", "held_out"),
    "sounds": ("sound", "known"),
    "held_out_sounds": ("sound", "held_out"),
}
_OTHER_POOLS = {"known": "known", "held_out": "held_out"}


def _entries(content: dict[str, dict[str, Any]]) -> Iterator[TableEntry]:
    for category, lists in content["classes"].items():
        for key, references in lists.items():
            kind, pool = _LISTS[key]
            yield from (_entry(reference, kind, category, pool) for reference in references)
    yield from (_entry(reference, "image", "", "known") for reference in content.get("things", ()))
    for sort, pools in content.get("others", {}).items():
        for pool, references in pools.items():
            yield from (
                _entry(reference, "other", sort, _OTHER_POOLS[pool]) for reference in references
            )
    for category, photographs in content.get("photographs", {}).items():
        yield from (_entry(reference, "photograph", category, "test") for reference in photographs)
    for split, photos in content["backgrounds"].items():
        yield from (_entry(reference, "background", "", split) for reference in photos)


def _entry(reference: str, kind: str, category: str, pool: str) -> TableEntry:
    package, _, path = str(reference).partition(":")
    return TableEntry(kind=kind, category=category, pool=pool, package=package, path=path)


@dataclass(frozen=True)
class Licence:
    """Licence and author of a file, as stated by its package."""

    licence: str
    author: str


def find_licence(statement: str, path: str) -> Licence | None:
    """Look up a file in a licence statement made of ``Copyright:``, ``License:`` and ``Files:`` paragraphs.

    Debian's machine-readable ``copyright`` file, where files are patterns and the last match counts, and the README
    files in gcompris's activities have this format. A pattern also matches a file with another extension (packages
    convert jpg to webp without updating the statement), unless that file is listed itself: dog.ogg does not inherit
    from dog.webp.
    """
    named: Licence | None = None
    found: Licence | None = None
    stem = str(PurePosixPath(path).with_suffix(""))
    for paragraph in re.split(r"\n\s*\n", statement):
        fields = _fields(paragraph)
        author = " ".join(fields.get("copyright", "").split())
        licence = Licence(fields.get("license", "").split("\n")[0].strip(), author)
        for pattern in fields.get("files", "").split():
            bare = re.sub(r"\.\w{2,4}$", "", pattern)
            if path == pattern:
                named = licence
            elif fnmatch.fnmatchcase(path, pattern) or (bare and fnmatch.fnmatchcase(stem, bare)):
                found = licence
    return named or found


def _fields(paragraph: str) -> dict[str, str]:
    """``Key: value`` with continuation lines, by key in lower case."""
    fields: dict[str, str] = {}
    key = ""
    for line in paragraph.splitlines():
        if match := re.match(r"([A-Za-z-]+):\s*(.*)", line):
            key = match[1].lower()
            fields[key] = match[2]
        elif key:
            fields[key] += "\n" + line
    return fields
