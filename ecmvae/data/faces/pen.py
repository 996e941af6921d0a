"""A pen in coordinates of a unit square, and the outlines that it fills."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
"""An outline, (n, 2): right and down."""
Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_BETWEEN = np.linspace(0.0, 1.0, 8, endpoint=False)[None, :, None]


class Pen:
    """Fills outlines on a canvas that is several times as large as the picture, for smooth edges.

    Coordinates lie in the unit square, turned, scaled and shifted before they are drawn. An `opacity` below 1 lets what
    is below shine through.
    """

    def __init__(self, side: int, *, scale: float, roll: float, shift: tuple[float, float]) -> None:
        """Start on a black canvas of `side` pixels; `roll` is in degrees, clockwise, about the middle of the square."""
        self.image = Image.new("RGB", (side, side))
        self._draw = ImageDraw.Draw(self.image, "RGBA")
        angle = np.deg2rad(roll)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._matrix = side * scale * rotation
        middle = np.array([0.5, 0.5])
        self._offset = side * (middle + np.asarray(shift)) - middle @ self._matrix
        self._unit = side * scale

    def fill(self, outline: Points, color: Color, opacity: float = 1.0) -> None:
        """Fill a closed outline."""
        self._draw.polygon(self._pixels(outline), fill=(*color, round(255 * opacity)))

    def line(self, path: Points, color: Color, width: float, opacity: float = 1.0) -> None:
        """Draw a line of `width` with round ends; a translucent one is darker where it crosses itself."""
        fill, thick = (*color, round(255 * opacity)), max(1, round(width * self._unit))
        pixels = self._pixels(path)
        self._draw.line(pixels, fill=fill, width=thick, joint="curve")
        if opacity == 1.0:
            radius = thick / 2
            for x, y in (pixels[0], pixels[-1]):
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (points @ self._matrix + self._offset).tolist()]


def ellipse(
    x: float, y: float, width: float, height: float, *, begin: float = 0.0, end: float = 360.0
) -> Points:
    """Half axes `width` and `height`; from `begin` to `end` degrees, clockwise from the right."""
    return _arc(begin, end) * [width, height] + [x, y]


@cache
def _arc(begin: float, end: float) -> Points:
    angle = np.deg2rad(np.linspace(begin, end, 40))
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def smooth(knots: ArrayLike, *, closed: bool = True) -> Points:
    """A curve through knots (n, 2): Catmull and Rom's spline, eight points for each."""
    given = np.asarray(knots, dtype=float)
    before, after = (given[-1:], given[:2]) if closed else (given[:1], given[-1:])
    padded = np.concatenate([before, given, after])
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = _BETWEEN
    curve = p1 + t / 2 * (
        p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))
    )
    return curve.reshape(-1, 2) if closed else np.concatenate([curve.reshape(-1, 2), given[-1:]])


def mirrored(knots: Sequence[tuple[float, float]]) -> Points:
    """Knots of the right half, top to bottom, and their mirror images: a closed figure around x = 0."""
    right = np.asarray(knots, dtype=float)
    left = right[::-1] * [-1.0, 1.0]
    return np.concatenate([right, left[left[:, 0] < 0]])


def darker(color: Color, share: float) -> Color:
    """Towards black by `share`, or towards white where it is negative."""
    red, green, blue = (c * (1 - share) if share > 0 else c - share * (255 - c) for c in color)
    return round(red), round(green), round(blue)
