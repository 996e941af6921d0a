"""The colours of classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


def voc_palette(count: int) -> UInt8[np.ndarray, "c 3"]:
    """The colours of the PASCAL VOC convention: the bits of a class number, dealt to R, G and B from the top down."""
    numbers = np.arange(count)
    palette = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((numbers >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette
