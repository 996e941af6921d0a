"""Still images: frames as RGB, masks and object maps in whatever PIL mode they were saved.

Every reader raises `UserError` if the file is missing or is not a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ecmvae.errors import UserError


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8."""
    return np.asarray(_open(path).convert("RGB"))


def picture_mode(path: Path) -> str:
    """PIL's mode of a picture: 1, L, P, RGB ..."""
    return _open(path).mode


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask as (H, W) bool: True where a pixel is anything but 0.

    AVSBench's masks come in several PIL modes, and converting one by PIL's defaults goes wrong: a white RGB pixel
    becomes index 225 in mode P, and an index of 1 becomes whatever grey its palette holds. So palette indices are
    taken as they are (unless the palette says that black is another index than 0), colour counts where any channel is
    above 0, and an alpha channel is ignored.
    """
    image = _open(path)
    pixels = np.asarray(image)
    if image.getbands()[-1] == "A":
        pixels = pixels[..., :-1]
    if image.mode == "P":
        colours = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
        black = [
            index for index in np.unique(pixels).tolist() if not colours[index : index + 1].any()
        ]
        if colours[0].any() and black:
            return np.asarray(~np.isin(pixels, black))
    return np.asarray(pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=2))


def read_released_mask(path: Path, mode: Literal["1", "P"]) -> NDArray[np.uint8]:
    """Read a mask as AVSBench's and ECMVAE's loaders do: converted by Pillow, as levels (H, W) from 0 to 255.

    Mode 1 (S4) dithers grey. Mode P (MS3) keeps grey levels and palette indices as they are, and brings colours to a
    palette of 216 in which white has index 225. Their loaders divide the levels by 255 and train on that.

    Raises:
        UserError: If the brightest pixel of a mask would be worth less than half, as index 1 of a palette is.
    """
    levels = np.asarray(_open(path).convert(mode)).astype(np.uint8) * np.uint8(
        255 if mode == "1" else 1
    )
    if 0 < (brightest := int(levels.max())) < 128:
        raise UserError(
            f"{path}: read as its authors do, its brightest pixel is {brightest} of 255 and it would teach nothing: "
            "set data.mask_rule to any"
        )
    return levels


def grey_pixels(path: Path) -> int:
    """How many pixels of a mask are neither black nor white, whatever its mode; a palette's colours count."""
    image = _open(path)
    if image.mode == "1":
        return 0
    levels = np.asarray(image.convert("RGB").convert("L"))
    return int(((levels > 0) & (levels < 255)).sum())


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Read a map of small numbers (modes P, L or 1) as (H, W) uint8, palette ignored; colour is a `UserError`."""
    image = _open(path)
    if image.mode not in ("P", "L", "1"):
        raise UserError(
            f"{path}: must hold one number a pixel (PIL mode P or L), not mode {image.mode}"
        )
    return np.asarray(image).astype(np.uint8)


def read_probability(path: Path) -> NDArray[np.float32]:
    """Read a predicted mask as (H, W) float32 in [0, 1]: grey levels over 255; 0 or 1 for 1-bit and palette files."""
    image = _open(path)
    if image.mode in ("1", "P"):
        return read_mask(path).astype(np.float32)
    return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def sounding_masks(
    objects: UInt8[np.ndarray, "t h w"], sounding: Bool[np.ndarray, "t o"]
) -> Bool[np.ndarray, "t h w"]:
    """Pixels of the objects that sound: in frame t those of the objects k whose column k-1 of row t is True."""
    # the background is silent
    table = np.concatenate([np.zeros((len(sounding), 1), dtype=bool), sounding], axis=1)
    masks: np.ndarray = np.take_along_axis(
        table, objects.reshape(len(objects), -1).astype(np.intp), axis=1
    )
    return masks.reshape(objects.shape)


def of_size(path: Path, pixels: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """`pixels` (H, W, ...) of the picture at `path`; a `UserError` if they are not as large as their clip."""
    if pixels.shape[:2] != size:
        here, there = (f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, size))
        raise UserError(f"{path}: is {here} pixels but the clip's first frame is {there}")
    return pixels


def same_size(paths: Sequence[Path], pictures: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The pictures of a clip, all as large as the first one, else a `UserError`."""
    return [
        of_size(path, pixels, pictures[0].shape[:2])
        for path, pixels in zip(paths, pictures, strict=True)
    ]


def _open(path: Path) -> Image.Image:
    try:
        with path.open("rb") as file:
            image = Image.open(file)
            image.load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(
            f"{path}: cannot be read as a picture ({str(error).splitlines()[0]})"
        ) from error
    return image
