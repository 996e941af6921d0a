"""Classes of sounding objects: from logits to class maps, their names and colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ecmvae.data.avss import voc_palette

PALETTE = voc_palette(256)
"""(256, 3) RGB: the colour of each class, by the VOC convention that AVSS' labels follow."""


def foreground_and_classes(
    drawn: Float[Tensor, "s b t k h w"],
) -> tuple[Float[Tensor, "b t h w"], UInt8[Tensor, "b t h w"] | None]:
    """The mean over latent draws of the probability that a pixel sounds, and its likeliest class.

    The class is the likeliest one *but* the background, so that every pixel of a mask has one at any threshold.

    Args:
        drawn: Logits (S, B, T, K, H, W) of S draws.

    Returns:
        Probabilities (B, T, H, W), and class numbers from 1 on; None for a model with one channel, without classes.
    """
    if drawn.shape[3] == 1:
        return drawn.sigmoid().mean(dim=0)[:, :, 0], None
    share = drawn.softmax(dim=3).mean(dim=0)  # (B, T, K, H, W)
    return 1 - share[:, :, 0], (share[:, :, 1:].argmax(dim=2) + 1).to(torch.uint8)


def class_name(number: int, names: Sequence[str]) -> str:
    """Name of a class, or its number where no names are known."""
    return names[number] if number < len(names) else f"class {number}"


def by_area(classes: UInt8[np.ndarray, "h w"]) -> list[int]:
    """Numbers of the classes in a map, largest area first; 0, the background, is left out."""
    counts = np.bincount(classes.ravel(), minlength=1)
    counts[0] = 0
    return [int(number) for number in np.argsort(-counts, kind="stable") if counts[number] > 0]
