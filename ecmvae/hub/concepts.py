"""Names of models without training: ``concepts``, ``concepts:clap+clipseg``, ``concepts:ast=FOLDER+clipseg=FOLDER``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.foreign_text import short
from ecmvae.hub.catalogue import WEIGHTS, weights_folder
from ecmvae.hub.client import sha256_of

TAGGERS = {"ast": "ast", "clap": "clap", "pe_a_frame": "pe-a-frame"}
SEGMENTERS = {"clipseg": "clipseg"}
"""What can hear and what can see, and the name of its weights in the catalogue."""
_WORD = "concepts"


@dataclass(frozen=True)
class ConceptsName:
    """A tagger that says what sounds and when, and a segmenter that says where it is.

    Attributes:
        tagger: A name of `TAGGERS`.
        tagger_weights: Its folder, name in the catalogue or address.
        segmenter: A name of `SEGMENTERS`.
        segmenter_weights: Likewise.
    """

    tagger: str = "ast"
    tagger_weights: str = TAGGERS["ast"]
    segmenter: str = "clipseg"
    segmenter_weights: str = SEGMENTERS["clipseg"]

    @classmethod
    def parse(cls, text: str) -> ConceptsName | None:
        """Read such a name; None for anything else, and for a path that exists.

        Raises:
            UserError: If it names a part that there is not.
        """
        word, colon, parts = text.partition(":")
        if word != _WORD or Path(text).exists():
            return None
        if not colon:
            return cls()
        first, plus, second = parts.partition("+")
        if not plus:
            raise UserError(f"{short(text)} is not a tagger and a segmenter: write concepts:ast+clipseg")
        return cls(*_part(first, TAGGERS, "tagger"), *_part(second, SEGMENTERS, "segmenter"))

    def __str__(self) -> str:
        return f"{_WORD}:{self.tagger}={self.tagger_weights}+{self.segmenter}={self.segmenter_weights}"

    def sha256(self) -> str:
        """Of the weights of both, with a plus sign between them; both must be there.

        Raises:
            UserError: If one is not.
        """
        return "+".join(self._digests())

    def _digests(self) -> Iterator[str]:
        for weights in (self.tagger_weights, self.segmenter_weights):
            folder = weights_folder(weights)
            whole = folder / WEIGHTS
            yield sha256_of(whole if whole.is_file() else folder / f"{WEIGHTS}.index.json")


def _part(text: str, known: dict[str, str], what: str) -> tuple[str, str]:
    name, _, weights = text.partition("=")
    name = name.replace("-", "_")
    if name not in known:
        raise UserError(f"unknown {what} {short(name)} of concepts: choose from {', '.join(known)}")
    return name, weights or known[name]
