"""Classes of sounding objects: from logits to class maps, their names and colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from ecmvae.data.palette import voc_palette

PALETTE = voc_palette(256)
"""(256, 3) RGB: the colour of each class, by the VOC convention that AVSS' labels follow."""


def foreground_and_classes(
    drawn: Float[np.ndarray, "s b t k h w"],
) -> tuple[Float[np.ndarray, "b t h w"], UInt8[np.ndarray, "b t h w"] | None]:
    """The mean over latent draws of the probability that a pixel sounds, and its likeliest class.

    The class is the likeliest one *but* the background, so that every pixel of a mask has one at any threshold.

    Args:
        drawn: Logits (S, B, T, K, H, W) of S draws.

    Returns:
        Probabilities (B, T, H, W), and class numbers from 1 on; None for a model with one channel, without classes.
    """
    if drawn.shape[3] == 1:
        return _sigmoid(drawn).mean(axis=0)[:, :, 0], None
    share = _softmax(drawn).mean(axis=0)  # (B, T, K, H, W)
    return 1 - share[:, :, 0], (share[:, :, 1:].argmax(axis=2) + 1).astype(np.uint8)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # exp(-|x|) never overflows; in place, as these are the largest maps beside the model's own
    small = np.abs(logits)
    np.exp(np.negative(small, out=small), out=small)
    probabilities: np.ndarray = np.where(logits >= 0, 1, small)
    small += 1
    probabilities /= small
    return probabilities


def _softmax(logits: Float[np.ndarray, "s b t k h w"]) -> Float[np.ndarray, "s b t k h w"]:
    powers = np.exp(logits - logits.max(axis=3, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=3, keepdims=True)
    return shares


def class_name(number: int, names: Sequence[str]) -> str:
    """Name of a class, or its number where no names are known."""
    return names[number] if number < len(names) else f"class {number}"


def by_area(classes: UInt8[np.ndarray, "h w"]) -> list[int]:
    """Numbers of the classes in a map, largest area first; 0, the background, is left out."""
    counts = np.bincount(classes.ravel(), minlength=1)
    counts[0] = 0
    return [int(number) for number in np.argsort(-counts, kind="stable") if counts[number] > 0]
