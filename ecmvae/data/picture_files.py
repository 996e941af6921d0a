"""One picture file as pixels: the central square, resized, grey or RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import cut, open_regular

MAX_PIXELS = 100_000_000
"""Pixels of one picture."""

_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What a file may be, whatever its name says; PIL knows others that start programs or hold NaN."""
_FAULTS = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    MemoryError,
)
"""What PIL raises on files that it cannot read."""


def read_picture(path: Path, size: int, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """The central square of a picture, resized with antialiasing.

    Transparent pixels are laid on white, 16-bit grey loses its low byte, and a camera's rotation is applied.

    Args:
        path: The file.
        size: Height and width of the result.
        channels: 1 for grey, 3 for RGB.

    Raises:
        UserError: If it cannot be read as a picture, or is larger than `MAX_PIXELS`.
    """
    try:
        with open_regular(path) as file:
            image: Image.Image = Image.open(file, formats=_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"{image.width} x {image.height} pixels, more than {MAX_PIXELS // 1_000_000} million"
                )
            # JPEG: decode at a smaller scale where that suffices
            image.draft(image.mode, (2 * size, 2 * size))
            image = ImageOps.exif_transpose(image)
            image.load()
            image = _plain(image).convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise UserError(f"{show_path(path)}: no such file") from None
    except _FAULTS as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = (
            f"it is not {', '.join(_FORMATS)}"
            if unknown
            else cut(str(error)) or type(error).__name__
        )
        raise UserError(
            f"{show_path(path)} cannot be read as a picture ({reason}): replace or delete it"
        ) from error
    return np.array(_square(image, size)).reshape(size, size, channels)


def is_grey(path: Path) -> bool:
    """Whether a picture is stored without colours; True as well for what cannot be read."""
    try:
        with open_regular(path) as file, Image.open(file, formats=_FORMATS) as image:
            return image.mode in _GREY_MODES
    except _FAULTS:
        return True  # it is named when the pixels are read


def _plain(image: Image.Image) -> Image.Image:
    """Without transparency, and with 8 bits a value."""
    if image.mode.startswith("I"):
        values: NDArray[np.int64] = np.asarray(image).astype(np.int64)
        return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
