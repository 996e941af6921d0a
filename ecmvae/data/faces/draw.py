"""One face."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from ecmvae.data.faces import palette
from ecmvae.data.faces.clothes import draw_top
from ecmvae.data.faces.hair import draw_hair_behind, draw_hair_front, draw_hat
from ecmvae.data.faces.head import Face, draw_features, draw_glasses, draw_head
from ecmvae.data.faces.look import Look, Variation
from ecmvae.data.faces.pen import Pen

PLAIN = Variation()
"""The picture of a look without any variation."""


def draw_face(
    look: Look, variation: Variation = PLAIN, size: int = 64
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a look on `size` x `size` pixels, RGB.

    The same arguments give the same pixels.

    Raises:
        ValueError: For a size below 8 pixels.
    """
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    factor = 4 if size <= 160 else 2
    pen = Pen(size * factor, scale=variation.scale, roll=variation.roll, shift=variation.shift)
    pen.image.paste(_backdrop(variation, size * factor))
    skin, hair = palette.SKIN[look.skin], palette.HAIR[look.hair_color]
    face = Face(look.turn)
    draw_hair_behind(pen, look.hair, face, hair)
    draw_head(pen, face, skin)
    draw_top(pen, look.top, palette.CLOTHES[look.clothes_color], skin)
    draw_features(pen, look, face, skin, hair)
    draw_hair_front(pen, look.hair, face, hair, skin)
    draw_glasses(pen, look.accessories, face)
    if look.hat:
        draw_hat(pen, face, variation.hat_color)
    return _lit(np.asarray(pen.image.reduce(factor)), variation)


def _backdrop(variation: Variation, side: int) -> Image.Image:
    """The background's colour, darker downwards."""
    share = np.linspace(1.04, 0.86, side)[:, None]
    column = (np.asarray(variation.background) * share).clip(0, 255).astype(np.uint8)
    return Image.fromarray(column[:, None]).resize((side, side))


def _lit(pixels: NDArray[np.uint8], variation: Variation) -> NDArray[np.uint8]:
    """Tint, and light that falls from one side."""
    across = 1.0 + variation.light * np.linspace(-0.5, 0.5, pixels.shape[1])
    lit: NDArray[np.float64] = pixels * (across[None, :, None] * np.asarray(variation.tint))
    return lit.round().clip(0, 255).astype(np.uint8)
