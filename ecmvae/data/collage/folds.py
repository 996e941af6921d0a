"""Cross-validation folds: which pictures and recordings of AVS-Collage are held out, other than as the table says.

The table holds out one picture and one recording a class, so a score on them says as much about these files as about
the model. With n folds, n models are trained, and together they are scored on almost every picture and recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ecmvae.data.collage.items import ItemKind, SourceItem
from ecmvae.errors import UserError

MAX_FOLDS = 100

NEVER_HELD_OUT = ("timgm6mb",)
"""Packages whose recordings only train: phrases played on the same samples would be heard in training and in test."""

TOGETHER = {
    "tuxpaint_pig_golden2": "tuxpaint_pig_golden",
    "gcompris_lrbark_3_la_cut": "gcompris_lrbark_1_la_cut",
}
"""Items of one series (the same dog, the same breed of pig): they are held out in the same fold."""


def check_fold(fold: int, folds: int) -> None:
    """Validate the number of a fold.

    Raises:
        UserError: Unless there are 2 to `MAX_FOLDS` folds and `fold` is one of 0 ... folds - 1, or both are 0.
    """
    if folds == fold == 0:
        return
    if not 2 <= folds <= MAX_FOLDS:
        raise UserError(
            f"folds={folds} must be from 2 to {MAX_FOLDS}, or 0 for the table's own split"
        )
    if not 0 <= fold < folds:
        raise UserError(f"fold={fold} must be from 0 to {folds - 1}: there are {folds} folds")


def deal(items: Sequence[SourceItem], fold: int, folds: int) -> tuple[SourceItem, ...]:
    """The items with the pools of one fold: every picture and recording is held out in exactly one of the folds.

    A class's only picture or recording is never held out, so that every class can be trained on in every fold, and
    neither is anything of `NEVER_HELD_OUT` or a cut-out of no class. Items are dealt in the order of class and id:
    pictures in turn over all classes, which makes the folds equally large, and a class's recordings from the fold of
    its first picture on, so that many classes have both held out at once. Recordings of classes that hold out no
    picture are dealt in turn by themselves.

    Args:
        items: All items; backgrounds keep their split.
        fold: Number of the fold, from 0.
        folds: Number of folds, at least 2.

    Returns:
        The items in the same order.
    """
    dealt: dict[tuple[ItemKind, str], int] = {}
    first = alone = 0
    for category in sorted(
        {item.category for item in items if item.kind in ("image", "sound")} - {""}
    ):
        pictures, recordings = (_places(items, kind, category) for kind in ("image", "sound"))
        dealt |= {("image", item): (first + place) % folds for item, place in pictures.items()}
        start = first if pictures else alone
        dealt |= {("sound", item): (start + place) % folds for item, place in recordings.items()}
        first += len(set(pictures.values()))
        alone += 0 if pictures else len(set(recordings.values()))
    pools = {True: "held_out", False: "known"}
    return tuple(
        replace(item, pool=pools[dealt.get((item.kind, item.id)) == fold])
        if item.kind in ("image", "sound")
        else item
        for item in items
    )


def _places(items: Sequence[SourceItem], kind: str, category: str) -> dict[str, int]:
    """Ids of a class's items that can be held out, each with the number of its series; none where there is only one."""
    own = [item for item in items if (item.kind, item.category) == (kind, category)]
    series = {
        item.id: TOGETHER.get(item.id, item.id)
        for item in own
        if item.package not in NEVER_HELD_OUT
    }
    names = sorted(set(series.values()))
    only = len(names) == 1 and len(series) == len(own)
    return {} if only else {item: names.index(name) for item, name in series.items()}


def never_held_out(items: Sequence[SourceItem]) -> dict[str, int]:
    """How many pictures and recordings no fold holds out, by "image" and "sound"."""
    return {
        kind: sum(
            item.kind == kind
            and item.category != ""
            and item.id not in _places(items, kind, item.category)
            for item in items
        )
        for kind in ("image", "sound")
    }
