"""From the names of sounds to things that can be seen: AudioSet's 527 names, and the concepts that a user lists.

The table is audioset.csv: a name ("Bow-wow"), what to look for in the picture ("a dog"; empty where there is nothing to
see) and a group ("animals"). The names are Google's, from AudioSet's class_labels_indices.csv (CC BY 4.0); prompts and
groups are this project's. A copy of the file, edited, may be given in place of concepts.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import read_text, short

TABLE = Path(str(files("ecmvae"))) / "foundation" / "audioset.csv"
MOST_CONCEPTS = 254
"""Classes that fit into the bytes of a class map, beside the background."""
_LONGEST = 100
_COLUMNS = ["name", "prompt", "group"]


_NOT_YAMNETS = {
    "Male speech, man speaking",
    "Female speech, woman speaking",
    "Battle cry",
    "Male singing",
    "Female singing",
    "Funny music",
}
"""Of AudioSet's 527 names, those that YAMNet was not trained with; the others are its own, in their order."""


@dataclass(frozen=True)
class SoundName:
    """A row of the table.

    Attributes:
        name: As a tagger says it.
        prompt: What to look for in the picture; "" where there is nothing to see.
        group: Of related names.
    """

    name: str
    prompt: str
    group: str

    @property
    def keys(self) -> tuple[str, ...]:
        """What a user may call it: its name, the parts of its name, its prompt and its group."""
        return tuple(
            plain(text)
            for text in (self.name, *self.name.split(","), self.prompt, self.group)
            if text
        )


@dataclass(frozen=True)
class Vocabulary:
    """The concepts that are listened and looked for.

    Attributes:
        prompts: One for each concept, for the segmenter.
        members: For each, the numbers of the tagger's own names that it stands for; None for a tagger that listens for
            any text.
    """

    prompts: tuple[str, ...]
    members: tuple[tuple[int, ...], ...] | None = None


def read_table(path: Path | None = None) -> tuple[SoundName, ...]:
    """The rows of a table; None = the packaged one.

    Raises:
        UserError: If the file is not such a table, or names something twice.
    """
    return _packaged() if path is None else _read(path)


def yamnet_names() -> tuple[str, ...]:
    """The 521 names of YAMNet, in its order."""
    return tuple(row.name for row in read_table() if row.name not in _NOT_YAMNETS)


def parse_concepts(text: str | Sequence[str]) -> tuple[str, ...]:
    """Concepts from "dog, guitar, person speaking", or from a list of them.

    Raises:
        UserError: If there is none, or one is empty, repeated, too long or not printable.
    """
    parts = text.split(",") if isinstance(text, str) else list(text)
    concepts = tuple(part.strip() for part in parts)
    if not concepts or not all(concepts):
        raise UserError(
            f"concepts are words with commas between them, such as 'dog, guitar', not {short(text)}"
        )
    for concept in concepts:
        if not concept.isprintable():
            raise UserError(
                f"the concept {short(concept)} holds characters that are not text: write it in words"
            )
        if len(concept) > _LONGEST:
            raise UserError(
                f"the concept {short(concept)} is longer than {_LONGEST} characters: use a few words"
            )
    keys = [plain(concept) for concept in concepts]
    if len(set(keys)) < len(keys):
        raise UserError(f"a concept is there twice in {short(text)}: name each once")
    if len(concepts) > MOST_CONCEPTS:
        raise UserError(
            f"{len(concepts)} concepts are too many: at most {MOST_CONCEPTS} fit into a class map"
        )
    return concepts


def find_vocabulary(
    names: Sequence[str],
    concepts: Sequence[str] | None = None,
    table: Sequence[SoundName] | None = None,
) -> Vocabulary:
    """What is listened for.

    Args:
        names: The tagger's own; empty for one that listens for any text.
        concepts: Of the user; None = everything in the table that can be seen, as far as the tagger can name it.
        table: Rows of a table; None = the packaged one.

    Raises:
        UserError: If the tagger cannot name a concept, with the nearest that it can.
    """
    rows = {row.name: row for row in table or read_table()}
    if not names:
        visible = dict.fromkeys(row.prompt for row in rows.values() if row.prompt)
        return Vocabulary(tuple(concepts or visible))
    known = [rows.get(name, SoundName(name, name.lower(), "")) for name in names]
    if concepts is None:
        prompts = tuple(dict.fromkeys(row.prompt for row in known if row.prompt))[:MOST_CONCEPTS]
        members = tuple(
            tuple(k for k, row in enumerate(known) if row.prompt == prompt) for prompt in prompts
        )
        return Vocabulary(prompts, members)
    members = tuple(
        tuple(number for number, row in enumerate(known) if plain(concept) in row.keys)
        for concept in concepts
    )
    for concept, found in zip(concepts, members, strict=True):
        if not found:
            keys = sorted({key for row in known if row.prompt for key in row.keys})
            close = difflib.get_close_matches(plain(concept), keys, n=3, cutoff=0.5) or keys[:3]
            raise UserError(
                f"the tagger has no name for {short(concept)}: nearest are {', '.join(close)}; "
                "concepts:clap+clipseg listens for any text"
            )
    return Vocabulary(tuple(concepts), members)


@cache
def _packaged() -> tuple[SoundName, ...]:
    return _read(TABLE)


def _read(path: Path) -> tuple[SoundName, ...]:
    lines = [
        line
        for line in read_text(path, encoding="utf-8-sig").splitlines()
        if line and not line.startswith("#")
    ]
    rows = list(csv.reader(lines))
    where = show_path(path)
    if not rows or rows[0] != _COLUMNS:
        raise UserError(
            f"{where} is not a table of names: its first line must be {','.join(_COLUMNS)}"
        )
    for number, row in enumerate(rows[1:], start=2):
        if (
            len(row) != len(_COLUMNS)
            or not row[0].strip()
            or not all(text.isprintable() for text in row)
        ):
            raise UserError(
                f"{where}, row {number}: needed are a name, a prompt and a group, got {short(row)}"
            )
    table = tuple(SoundName(*(text.strip() for text in row)) for row in rows[1:])
    names = [row.name for row in table]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"{where} names {short(twice[0])} twice: keep one of the rows")
    if len({row.prompt for row in table if row.prompt}) > MOST_CONCEPTS:
        raise UserError(
            f"{where} has more than {MOST_CONCEPTS} prompts, the most that fit into a class map"
        )
    return table


def plain(text: str) -> str:
    """A text without case, article and spaces around it."""
    words = text.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)
