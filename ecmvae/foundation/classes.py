"""From a data set's classes to what a tagger may name: so that a model without training is scored on classes (AVSS).

The table is avss.csv: a class ("man"), what to look for ("a man") and the names under which a tagger may hear it
("male speech;male singing"). A class that it lacks has its own name, or the nearest one that the tagger has. A copy of
the file, edited, may be given in its place.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import read_text, short
from ecmvae.foundation.names import MOST_CONCEPTS, SoundName, Vocabulary, plain, read_table

TABLE = Path(str(files("ecmvae"))) / "foundation" / "avss.csv"
_COLUMNS = ["class", "prompt", "sounds"]
_NEAR = 0.8  # of difflib: how alike two names must be


@dataclass(frozen=True)
class ClassRow:
    """A row of the table.

    Attributes:
        name: Of the class, as the data set has it.
        prompt: What to look for in the picture.
        sounds: Names, or parts of names, of a tagger; empty where it has none.
    """

    name: str
    prompt: str
    sounds: tuple[str, ...]


@dataclass(frozen=True)
class ClassVocabulary:
    """How the classes of a data set are heard and seen.

    Attributes:
        vocabulary: One concept for each class that can be heard.
        numbers: Their classes, in the same order.
        heard_as: Class -> names of the tagger that it stands for, or its prompt for a tagger of any text; empty where
            there are none.
    """

    vocabulary: Vocabulary
    numbers: tuple[int, ...]
    heard_as: dict[str, tuple[str, ...]]


def read_classes(path: Path | None = None) -> dict[str, ClassRow]:
    """The rows of a table by class; None = the packaged one.

    Raises:
        UserError: If the file is not such a table, or names a class twice.
    """
    path = path or TABLE
    lines = [
        line
        for line in read_text(path, encoding="utf-8-sig").splitlines()
        if line and not line.startswith("#")
    ]
    rows, where = list(csv.reader(lines)), show_path(path)
    if not rows or rows[0] != _COLUMNS:
        raise UserError(
            f"{where} is not a table of classes: its first line must be {','.join(_COLUMNS)}"
        )
    table: dict[str, ClassRow] = {}
    for row in rows[1:]:
        if (
            len(row) != len(_COLUMNS)
            or not row[0].strip()
            or not row[1].strip()
            or not all(map(str.isprintable, row))
        ):
            raise UserError(f"{where}: needed are a class, a prompt and sounds, got {short(row)}")
        name, prompt, sounds = (text.strip() for text in row)
        if name in table:
            raise UserError(f"{where} names the class {short(name)} twice: keep one of the rows")
        table[name] = ClassRow(
            name, prompt, tuple(each.strip() for each in sounds.split(";") if each.strip())
        )
    return table


def find_classes(
    class_names: Sequence[str],
    tagger_names: Sequence[str],
    table: dict[str, ClassRow] | None = None,
) -> ClassVocabulary:
    """How a tagger hears the classes of a data set, and what is looked for.

    Args:
        class_names: By number; 0 is the background.
        tagger_names: The tagger's own; empty for one that listens for any text.
        table: Rows by class; None = the packaged table.

    Raises:
        UserError: If a table that was given has a sound that the tagger has no name for, or no class can be heard.
    """
    rows = read_classes() if table is None else table
    known = _keys(tagger_names)
    prompts: list[str] = []
    members: list[tuple[int, ...]] = []
    numbers: list[int] = []
    heard_as: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(class_names[1:], start=1):
        words = name.replace("-", " ").replace("_", " ")
        row = rows.get(name, ClassRow(name, words, _nearest(words, known)))
        if tagger_names:
            if table is not None:
                _refuse_unknown(row, known)
            own = {each for sound in row.sounds for each in known.get(plain(sound), ())}
            heard_as[name] = tuple(tagger_names[each] for each in sorted(own))
            members.append(tuple(sorted(own)))
        else:
            heard_as[name] = (row.prompt,)
            members.append((0,))
        if members[-1]:
            prompts.append(row.prompt)
            numbers.append(number)
    if not numbers:
        raise UserError(
            "the tagger can hear none of these classes: give a table of them with --classes"
        )
    if len(numbers) > MOST_CONCEPTS:
        raise UserError(
            f"{len(numbers)} classes are too many: at most {MOST_CONCEPTS} fit into a class map"
        )
    chosen = tuple(each for each in members if each)
    return ClassVocabulary(
        Vocabulary(tuple(prompts), chosen if tagger_names else None), tuple(numbers), heard_as
    )


def _keys(tagger_names: Sequence[str]) -> dict[str, set[int]]:
    """What each of a tagger's names may be called: the name, and its parts -> their numbers."""
    known: dict[str, set[int]] = {}
    groups = {row.name: row for row in read_table()}
    for number, name in enumerate(tagger_names):
        row = groups.get(name, SoundName(name, "", ""))
        for key in (row.name, *row.name.split(","), row.prompt):
            if key:
                known.setdefault(plain(key), set()).add(number)
    return known


def _nearest(words: str, known: dict[str, set[int]]) -> tuple[str, ...]:
    if plain(words) in known:
        return (plain(words),)
    return tuple(difflib.get_close_matches(plain(words), sorted(known), n=1, cutoff=_NEAR))


def _refuse_unknown(row: ClassRow, known: dict[str, set[int]]) -> None:
    for sound in row.sounds:
        if plain(sound) not in known:
            close = difflib.get_close_matches(plain(sound), sorted(known), n=3, cutoff=0.5)
            hint = f": nearest are {', '.join(close)}" if close else ""
            raise UserError(
                f"the tagger has no name for {short(sound)}, a sound of the class {short(row.name)}{hint}"
            )
