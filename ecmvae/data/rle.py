"""COCO's run-length masks: numbers of 0, then 1, then 0 ... column by column; plain lists and COCO's compressed text.

Checked before anything is allocated: a mask that lies about its size costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool

from ecmvae.errors import UserError
from ecmvae.foreign_text import short

LARGEST_SIDE = 16_384
"""Pixels of the longest side of a mask that is decoded."""


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """COCO's run lengths: how many 0, then 1, then 0 ... column by column; the first may be 0."""
    column_major = mask.ravel(order="F")
    changes = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    bounds = np.concatenate([[0], changes, [column_major.size]])
    runs: list[int] = np.diff(bounds).tolist()
    return [0, *runs] if column_major[0] else runs


def compress(runs: list[int]) -> str:
    """Run lengths as COCO's text: from the fourth on as differences, in groups of five bits from `0` on."""
    text = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            group, value = value & 0x1F, value >> 5
            more = value != (-1 if group & 0x10 else 0)
            text.append(chr(48 + (group | 0x20 if more else group)))
            if not more:
                break
    return "".join(text)


def decode(segmentation: Any, size: tuple[int, int], where: str) -> Bool[np.ndarray, "h w"]:
    """The mask of ``{"size": [h, w], "counts": [...] or "..."}``.

    Args:
        segmentation: The value of a JSON file.
        size: Height and width that the mask must have.
        where: File and place, for messages.

    Raises:
        UserError: If it is not of this form, has another size, or its runs do not fill the mask exactly.
    """
    if not isinstance(segmentation, dict) or list(segmentation.get("size") or ()) != list(size):
        found = segmentation.get("size") if isinstance(segmentation, dict) else segmentation
        raise UserError(
            f"{where}: a run-length mask of {size[1]} x {size[0]} pixels is expected, not {short(found)}"
        )
    if not 0 < min(size) <= max(size) <= LARGEST_SIDE:
        raise UserError(f"{where}: masks of {size[1]} x {size[0]} pixels are not read")
    pixels, counts = size[0] * size[1], segmentation.get("counts")
    if not isinstance(counts, str | list) or len(counts) > 8 * (pixels + 1):
        raise UserError(
            f"{where}: the run lengths are {short(counts)}, not a list of numbers or COCO's text"
        )
    runs = _expand(counts, where) if isinstance(counts, str) else counts
    if not all(type(run) is int and 0 <= run <= pixels for run in runs) or sum(runs) != pixels:
        raise UserError(f"{where}: the run lengths do not fill {size[1]} x {size[0]} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size, order="F")


def _expand(text: str, where: str) -> list[int]:
    """Run lengths of COCO's text."""
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64 or shift > 60:
            raise UserError(f"{where}: {short(letter)} does not belong into compressed run lengths")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise UserError(f"{where}: the compressed run lengths end in the middle of a number")
    return runs
