"""Hair behind and before the head, and the hat."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ecmvae.data.faces.head import Face
from ecmvae.data.faces.pen import Color, Pen, Points, darker, ellipse, mirrored, smooth


def draw_hair_behind(pen: Pen, style: str, face: Face, color: Color) -> None:
    """What hangs behind neck and head."""
    shade = darker(color, 0.22)
    if style == "LongHairStraight":
        half = [
            (0.0, -1.16),
            (0.7, -1.05),
            (1.18, -0.5),
            (1.27, 0.3),
            (1.3, 1.0),
            (1.22, 1.5),
            (0.6, 1.58),
            (0.0, 1.5),
        ]
        pen.fill(face.flat(smooth(mirrored(half))), shade)
    elif style == "LongHairCurly":
        for u, v in [
            (1.05, -0.5),
            (1.24, -0.1),
            (1.3, 0.32),
            (1.34, 0.74),
            (1.24, 1.14),
            (0.95, 1.38),
            (0.6, 1.2),
        ]:
            for sign in (-1.0, 1.0):
                pen.fill(face.flat(ellipse(sign * u, v, 0.36, 0.29)), shade)
        pen.fill(face.flat(ellipse(0.0, 0.3, 1.15, 1.2)), shade)
    elif style == "LongHairBun":
        pen.fill(face.flat(ellipse(0.0, -1.2, 0.36, 0.25)), color)
        pen.line(face.flat(ellipse(0.0, -1.2, 0.2, 0.14, begin=150.0, end=380.0)), shade, 0.008)
    elif style == "ShortHairFrizzle":
        for angle in np.linspace(-200, 20, 11):
            u, v = 1.02 * np.cos(np.deg2rad(angle)), -0.32 + 0.72 * np.sin(np.deg2rad(angle))
            pen.fill(face.flat(ellipse(u, v, 0.3, 0.24)), shade)


def draw_hair_front(pen: Pen, style: str, face: Face, color: Color, skin: Color) -> None:
    """What lies on the skull; on a bald one, its gleam."""
    if style == "NoHair":
        pen.fill(face.on(ellipse(-0.35, -0.72, 0.22, 0.1)), darker(skin, -0.35), 0.7)
        return
    _FRONTS[style](pen, face, color)


def draw_hat(pen: Pen, face: Face, color: Color) -> None:
    """A knitted cap with a folded brim and a bobble."""
    dome = [(0.0, -1.26), (0.5, -1.2), (0.9, -0.97), (1.1, -0.55), (1.08, -0.42), (0.0, -0.5)]
    pen.fill(face.flat(ellipse(0.0, -1.32, 0.22, 0.16)), darker(color, -0.45))
    pen.fill(face.flat(smooth(mirrored(dome))), color)
    for u in (-0.66, -0.33, 0.0, 0.33, 0.66):
        rib = np.array([(0.55 * u, -1.17), (0.9 * u, -0.93), (u, -0.6)])
        pen.line(face.on(smooth(rib, closed=False)), darker(color, 0.22), 0.008)
    upper = smooth(
        [(-1.13, -0.62), (-0.6, -0.71), (0.0, -0.74), (0.6, -0.71), (1.13, -0.62)], closed=False
    )
    lower = smooth(
        [(1.13, -0.36), (0.6, -0.43), (0.0, -0.46), (-0.6, -0.43), (-1.13, -0.36)], closed=False
    )
    pen.fill(face.flat(np.concatenate([upper, lower])), darker(color, -0.25))


def _cap(line: Points, face: Face, volume: float = 1.07, down: float = 0.02) -> Points:
    """Hair between the skull's outline, `volume` times as large, and a hairline from right to left."""
    outer = [(-1.03, down), (-1.06, -0.4), (-0.94, -0.74), (-0.58, -1.0), (0.0, -1.06)]
    left = np.asarray(outer) * [1.0, volume / 1.06]
    right = left[-2::-1] * [-1.0, 1.0]
    over = face.flat(smooth(np.concatenate([left, right]), closed=False))
    return np.concatenate([over, face.on(line)])


def _flat(pen: Pen, face: Face, color: Color) -> None:
    line = smooth([(0.99, 0.0), (0.88, -0.1), (0.86, -0.44), (0.5, -0.55), (0.0, -0.57), (-0.5, -0.55), (-0.86, -0.44),
                   (-0.88, -0.1), (-0.99, 0.0)], closed=False)  # fmt: skip
    pen.fill(_cap(line, face, 1.1), color)
    pen.line(
        face.on(smooth([(-0.6, -0.75), (-0.2, -0.86), (0.3, -0.86)], closed=False)),
        darker(color, -0.25),
        0.012,
    )


def _waved(pen: Pen, face: Face, color: Color) -> None:
    line = smooth([(0.99, 0.0), (0.86, -0.12), (0.84, -0.5), (0.45, -0.6), (0.1, -0.44), (-0.3, -0.4), (-0.7, -0.58),
                   (-0.87, -0.3), (-0.9, -0.08), (-0.99, 0.0)], closed=False)  # fmt: skip
    pen.fill(face.flat(ellipse(0.25, -0.98, 0.62, 0.27)), color)
    pen.fill(_cap(line, face, 1.14), color)
    for lift in (0.0, 0.16):
        wave = smooth(
            [(-0.6, -0.62 - lift), (-0.2, -0.62 - lift), (0.3, -0.8 - lift), (0.7, -0.72)],
            closed=False,
        )
        pen.line(face.on(wave), darker(color, -0.25 if lift else 0.2), 0.01)


def _frizzle(pen: Pen, face: Face, color: Color) -> None:
    for angle in np.linspace(-168, -12, 9):
        u, v = 0.84 * np.cos(np.deg2rad(angle)), -0.36 + 0.5 * np.sin(np.deg2rad(angle))
        pen.fill(face.flat(ellipse(u, v, 0.26, 0.19)), color)
    for u, v in [(-0.5, -0.86), (0.0, -0.95), (0.5, -0.86), (-0.25, -0.74), (0.28, -0.74)]:
        pen.line(
            face.flat(ellipse(u, v, 0.1, 0.07, begin=160.0, end=380.0)), darker(color, -0.3), 0.009
        )
    line = smooth([(0.98, -0.1), (0.86, -0.3), (0.6, -0.62), (0.0, -0.64), (-0.6, -0.62), (-0.86, -0.3), (-0.98, -0.1)],
                  closed=False)  # fmt: skip
    pen.fill(_cap(line, face, 1.1, -0.08), color, 1.0)


def _straight(pen: Pen, face: Face, color: Color) -> None:
    line = smooth([(1.0, 0.9), (0.97, 0.3), (0.8, -0.3), (0.35, -0.6), (-0.12, -0.8), (-0.5, -0.58), (-0.85, -0.3),
                   (-0.97, 0.3), (-1.0, 0.9)], closed=False)  # fmt: skip
    side = [(1.2, 0.95), (1.21, 0.2), (1.15, -0.5), (0.7, -1.03), (0.0, -1.14)]
    over = np.asarray([(-u, v) for u, v in side] + side[-2::-1])
    pen.fill(np.concatenate([face.flat(smooth(over, closed=False)), face.on(line)]), color)
    for sign in (-1.0, 1.0):
        strand = [(sign * 0.25, -0.95), (sign * 0.8, -0.6), (sign * 1.06, 0.0), (sign * 1.1, 0.6)]
        pen.line(face.flat(smooth(strand, closed=False)), darker(color, -0.22), 0.01)


def _curly(pen: Pen, face: Face, color: Color) -> None:
    for angle in np.linspace(-190, 10, 11):
        u, v = 1.0 * np.cos(np.deg2rad(angle)), -0.28 + 0.72 * np.sin(np.deg2rad(angle))
        pen.fill(face.flat(ellipse(u, v, 0.29, 0.22)), color)
    for u, v in [(1.06, 0.1), (1.14, 0.45), (1.16, 0.8)]:
        for sign in (-1.0, 1.0):
            pen.fill(face.flat(ellipse(sign * u, v, 0.22, 0.2)), color)
            pen.line(
                face.flat(ellipse(sign * u, v, 0.1, 0.09, begin=150.0, end=400.0)),
                darker(color, -0.25),
                0.009,
            )
    for u, v in [(-0.6, -0.8), (-0.2, -0.95), (0.25, -0.93), (0.65, -0.78)]:
        pen.line(
            face.flat(ellipse(u, v, 0.12, 0.09, begin=150.0, end=400.0)),
            darker(color, -0.25),
            0.009,
        )


def _bun(pen: Pen, face: Face, color: Color) -> None:
    line = smooth([(1.0, -0.02), (0.93, -0.2), (0.72, -0.52), (0.3, -0.72), (-0.3, -0.72), (-0.72, -0.52),
                   (-0.93, -0.2), (-1.0, -0.02)], closed=False)  # fmt: skip
    pen.fill(_cap(line, face, 1.07, -0.02), color)
    for u in (-0.5, 0.0, 0.5):
        pen.line(face.on(np.array([(u, -0.72), (0.5 * u, -0.98)])), darker(color, 0.2), 0.007)


_FRONTS: Mapping[str, Callable[[Pen, Face, Color], None]] = {
    "ShortHairShortFlat": _flat,
    "ShortHairShortWaved": _waved,
    "ShortHairFrizzle": _frizzle,
    "LongHairStraight": _straight,
    "LongHairCurly": _curly,
    "LongHairBun": _bun,
}
