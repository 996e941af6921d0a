"""Names of models without training: ``concepts``, ``concepts:clap+clipseg``, ``concepts:ast=FOLDER+clipseg=FOLDER``.

A segmenter that tells things of one name apart has two parts: ``concepts:ast+grounding_dino+sam2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.foreign_text import short
from ecmvae.hub.catalogue import WEIGHTS, weights_folder
from ecmvae.hub.client import sha256_of

TAGGERS = {"ast": "ast", "clap": "clap", "pe_a_frame": "pe-a-frame", "yamnet": "package"}
SEGMENTERS = {"clipseg": "clipseg"}
DETECTORS = {"grounding_dino": "grounding-dino-tiny", "owlv2": "owlv2-base"}
MASK_MODELS = {"sam2": "sam2-hiera-tiny", "edgetam": "edgetam"}
"""What can hear, outline what a text names, draw boxes around it, and outline what is in a box, and the name of its
weights in the catalogue."""
_WORD = "concepts"
_BEFORE_MASK_MODEL = re.compile(rf"\+(?=(?:{'|'.join(MASK_MODELS)})(?:=|$))")
"""The plus sign between a detector and a mask model: folders may have one in their names."""


@dataclass(frozen=True)
class ConceptsName:
    """A tagger that says what sounds and when, and a segmenter that says where it is.

    Attributes:
        tagger: A name of `TAGGERS`.
        tagger_weights: Its folder, name in the catalogue or address.
        segmenter: A name of `SEGMENTERS` or `DETECTORS`.
        segmenter_weights: Likewise.
        mask_model: A name of `MASK_MODELS`, if the segmenter is a detector; else "".
        mask_weights: Likewise.
    """

    tagger: str = "ast"
    tagger_weights: str = TAGGERS["ast"]
    segmenter: str = "clipseg"
    segmenter_weights: str = SEGMENTERS["clipseg"]
    mask_model: str = ""
    mask_weights: str = ""

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
            raise UserError(
                f"{short(text)} is not a tagger and a segmenter: write concepts:ast+clipseg"
            )
        tagger = _part(first, TAGGERS, "tagger")
        name, *_ = re.split("[=+]", second, maxsplit=1)
        if name in SEGMENTERS:
            return cls(*tagger, *_part(second, SEGMENTERS, "segmenter"))
        detector, *mask_model = _BEFORE_MASK_MODEL.split(second, maxsplit=1)
        segmenter = _part(detector, {**SEGMENTERS, **DETECTORS}, "segmenter")
        if not mask_model:
            raise UserError(
                f"{segmenter[0]} only draws boxes: write {short(text)}+sam2, or +edgetam, for their masks"
            )
        return cls(*tagger, *segmenter, *_part(mask_model[0], MASK_MODELS, "mask model"))

    def __str__(self) -> str:
        parts = ((self.tagger, self.tagger_weights), *self.segmenter_parts)
        return f"{_WORD}:" + "+".join(f"{name}={weights}" for name, weights in parts)

    @property
    def segmenter_parts(self) -> tuple[tuple[str, str], ...]:
        """Name and weights of the segmenter, or of detector and mask model."""
        mask_model = ((self.mask_model, self.mask_weights),) if self.mask_model else ()
        return (self.segmenter, self.segmenter_weights), *mask_model

    def sha256(self) -> str:
        """Of the weights of all parts, with plus signs between them; all must be there.

        Raises:
            UserError: If one is not.
        """
        return "+".join(self._digests())

    def _digests(self) -> Iterator[str]:
        for weights in (self.tagger_weights, *(weights for _, weights in self.segmenter_parts)):
            folder = weights_folder(weights)
            whole = folder / WEIGHTS
            yield sha256_of(whole if whole.is_file() else folder / f"{WEIGHTS}.index.json")


def _part(text: str, known: dict[str, str], what: str) -> tuple[str, str]:
    name, _, weights = text.partition("=")
    name = name.replace("-", "_")
    if name not in known:
        raise UserError(f"unknown {what} {short(name)} of concepts: choose from {', '.join(known)}")
    return name, weights or known[name]
