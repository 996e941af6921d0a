"""Fingerprints of pictures: near-duplicates are found by comparing a few numbers instead of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

SIDE = 16
"""A fingerprint is the change of brightness, to the right and downwards, on a grid of SIDE x SIDE cells."""


def fingerprint(pixels: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " d"] | None:
    """Fingerprint of a picture, a vector of length 1; None for one so flat that it would be noise.

    It hardly changes when a picture is resized, recompressed, brightened or darkened.
    """
    small = Image.fromarray(pixels).convert("L").resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    rises = np.concatenate(
        [np.diff(grey, axis=1)[:SIDE].ravel(), np.diff(grey, axis=0)[:, :SIDE].ravel()]
    )
    length = np.linalg.norm(rises)
    return None if length < 2 * SIDE else (rises / length).astype(np.float32)


def near_duplicates(
    prints: Sequence[tuple[str, str, Float32[np.ndarray, " d"]]], least: float = 0.97
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of clips in different splits that share a frame: ((split, clip), (split, clip)), in the order of `prints`.

    Args:
        prints: Split, clip and fingerprint of every frame.
        least: Cosine of two fingerprints from which on frames count as the same. Unrelated pictures are near 0.
    """
    if not prints:
        return []
    table = np.stack([one for _, _, one in prints])
    splits = np.array([split for split, _, _ in prints])
    found: dict[tuple[tuple[str, str], tuple[str, str]], None] = {}
    step = 1024
    for start in range(0, len(table), step):
        close = table[start : start + step] @ table.T >= least
        close &= splits[start : start + step, None] != splits[None]
        for row, column in np.argwhere(close):
            first, second = start + int(row), int(column)
            if first < second:
                found[
                    (prints[first][0], prints[first][1]), (prints[second][0], prints[second][1])
                ] = None
    return list(found)
