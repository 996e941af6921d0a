"""Contact sheets: one row per clip, its five frames with the sounding objects outlined and named below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from ecmvae.data.images import read_indices, read_mask, read_rgb
from ecmvae.data.layout import ClipFiles
from ecmvae.files import replacing

_CELL = 160
_CAPTION = 14
_SOUNDS = (255, 40, 40)
_SILENT = (210, 210, 210)


def save_montage(path: Path, clips: Sequence[ClipFiles], records: Sequence[dict[str, Any]]) -> None:
    """Draw clips from disk as a PNG: sounding objects are outlined in red, silent ones in grey.

    `records` has for each clip its ``objects`` (class names) and its ``sounding`` table.
    """
    seconds = max((len(record["sounding"]) for record in records), default=1)
    sheet = Image.new("RGB", (seconds * _CELL, max(len(clips), 1) * (_CELL + _CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for row, (clip, record) in enumerate(zip(clips, records, strict=True)):
        for column, sounding in enumerate(record["sounding"]):
            left, top = column * _CELL, row * (_CELL + _CAPTION)
            sheet.paste(_frame(clip, column + 1), (left, top))
            sounding_names = [
                name for name, sounds in zip(record["objects"], sounding, strict=True) if sounds
            ]
            draw.text(
                (left + 2, top + _CELL),
                " + ".join(sounding_names) or "(none)",
                fill=(255, 255, 255),
            )
    with replacing(path) as part:
        sheet.save(part)


def _frame(clip: ClipFiles, k: int) -> Image.Image:
    pixels = read_rgb(clip.frame(k)).copy()
    objects = read_indices(clip.mask(k, "object_masks"))
    for number in np.unique(objects[objects > 0]):
        pixels[outline(objects == number)] = _SILENT
    pixels[outline(read_mask(clip.mask(k)))] = _SOUNDS
    return Image.fromarray(pixels).resize((_CELL, _CELL), Image.Resampling.BILINEAR)


def outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the mask with a neighbour (left, right, above, below) outside it; the frame's border does not count."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: np.ndarray = mask & ~inside
    return edge
