"""Tops: what is worn below the neck."""

from __future__ import annotations

import numpy as np

from ecmvae.data.faces import palette
from ecmvae.data.faces.pen import Color, Pen, Points, darker, ellipse, mirrored, smooth


def draw_top(pen: Pen, kind: str, color: Color, skin: Color) -> None:
    """Draw over the neck."""
    shade = darker(color, 0.2)
    if kind == "Hoodie":
        pen.fill(ellipse(0.5, 0.84, 0.2, 0.1), shade)
        pen.fill(
            smooth([(0.415, 0.72), (0.585, 0.72), (0.59, 0.86), (0.5, 0.9), (0.41, 0.86)]),
            darker(skin, 0.12),
        )
    body = palette.SHIRT_BELOW if kind == "Overall" else color
    pen.fill(_body(), body)
    for sign in (-1.0, 1.0):
        sleeve = np.array([(0.5 + sign * 0.24, 0.93), (0.5 + sign * 0.225, 1.1)])
        pen.line(sleeve, darker(body, 0.25), 0.01)
    if kind == "ShirtScoopNeck":
        pen.fill(ellipse(0.5, 0.825, 0.12, 0.085), shade)
        pen.fill(ellipse(0.5, 0.815, 0.11, 0.082), skin)
    elif kind == "ShirtVNeck":
        pen.fill(np.array([(0.385, 0.8), (0.615, 0.8), (0.5, 0.965)]), shade)
        pen.fill(np.array([(0.4, 0.79), (0.6, 0.79), (0.5, 0.94)]), skin)
    elif kind == "Hoodie":
        pen.fill(ellipse(0.5, 0.82, 0.105, 0.05), shade)
        pen.fill(ellipse(0.5, 0.805, 0.085, 0.045), skin)
        for sign in (-1.0, 1.0):
            pen.line(
                np.array([(0.5 + sign * 0.055, 0.865), (0.5 + sign * 0.06, 0.965)]),
                (248, 248, 248),
                0.012,
            )
    else:
        pen.fill(ellipse(0.5, 0.815, 0.09, 0.05), darker(body, 0.2))
        pen.fill(ellipse(0.5, 0.805, 0.082, 0.046), skin)
        pen.fill(
            smooth([(0.38, 0.915), (0.5, 0.92), (0.62, 0.915), (0.64, 1.1), (0.36, 1.1)]), color
        )
        for sign in (-1.0, 1.0):
            pen.line(np.array([(0.5 + sign * 0.2, 0.84), (0.5 + sign * 0.1, 0.94)]), color, 0.05)
            pen.fill(ellipse(0.5 + sign * 0.1, 0.945, 0.014, 0.014), (240, 206, 90))


def _body() -> Points:
    half = [
        (0.0, 0.82),
        (0.1, 0.825),
        (0.2, 0.85),
        (0.29, 0.89),
        (0.345, 0.96),
        (0.37, 1.12),
        (0.0, 1.14),
    ]
    return smooth(mirrored(half) + np.array([0.5, 0.0]))
