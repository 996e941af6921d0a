"""Head and features: a face that turns as if it lay on a ball."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ecmvae.data.faces import palette
from ecmvae.data.faces.look import Look
from ecmvae.data.faces.pen import Color, Pen, Points, darker, ellipse, mirrored, smooth

LARGEST_TURN = 0.3
"""Radians at turn 1."""

MIDDLE = np.array([0.5, 0.465])
HALF = np.array([0.222, 0.283])
"""Middle and half size of the head in the unit square: face coordinates (u, v) go from -1 to 1."""

EYES_AT = 0.43
EYE_LINE = 0.0

_HEAD = mirrored(
    [
        (0.0, -1.0),
        (0.55, -0.86),
        (0.9, -0.5),
        (1.0, -0.02),
        (0.93, 0.38),
        (0.68, 0.76),
        (0.32, 0.96),
        (0.0, 1.0),
    ]
)


@dataclass(frozen=True)
class Face:
    """Where points of a head lie."""

    turn: float

    def flat(self, points: ArrayLike) -> Points:
        """Face coordinates (n, 2) -> unit square, not turned: the head's outline."""
        placed: Points = MIDDLE + np.asarray(points, dtype=float) * HALF
        return placed

    def on(self, points: ArrayLike) -> Points:
        """Face coordinates (n, 2) -> unit square, on the front of a ball that turns."""
        given = np.array(points, dtype=float)
        angle = np.arcsin(given[:, 0].clip(-1, 1)) + LARGEST_TURN * self.turn
        given[:, 0] = np.sin(angle.clip(-np.pi / 2, np.pi / 2))
        return self.flat(given)


def draw_head(pen: Pen, face: Face, skin: Color) -> None:
    """Neck, ears and head."""
    shade = darker(skin, 0.16)
    pen.fill(smooth([(0.415, 0.64), (0.585, 0.64), (0.59, 0.86), (0.5, 0.92), (0.41, 0.86)]), skin)
    pen.fill(ellipse(0.5, 0.74, 0.088, 0.062), shade)
    side = LARGEST_TURN * face.turn
    for sign in (-1.0, 1.0):
        if sign * face.turn >= -0.12:
            _ear(pen, face, sign, np.cos(side) + 0.02, skin)
    pen.fill(face.flat(smooth(_HEAD)), skin)
    for sign in (-1.0, 1.0):
        if sign * face.turn < -0.12:
            _ear(pen, face, sign, np.cos(side) - 0.02, skin)
    shadow = np.concatenate([smooth(_HEAD)[24:57], face_inner()])
    pen.fill(face.flat(shadow), shade, 0.35)


def face_inner() -> Points:
    """Upper edge of the shade under the cheeks and the chin."""
    return smooth([(-0.93, 0.3), (-0.6, 0.68), (0.0, 0.86), (0.6, 0.68), (0.93, 0.3)], closed=False)


def draw_features(pen: Pen, look: Look, face: Face, skin: Color, hair: Color) -> None:
    """Eyes, brows, nose, cheeks, mouth and moustache."""
    brow = darker(hair, 0.35) if look.hair_color != "Black" else hair
    for sign in (-1.0, 1.0):
        _eye(pen, look.eyes, face, sign, skin)
        _brow(pen, look.eyes, face, sign, brow)
    shade = darker(skin, 0.28)
    nose = smooth(
        [(-0.02, 0.02), (0.05, 0.16), (0.11, 0.27), (0.06, 0.33), (-0.08, 0.32)], closed=False
    )
    pen.line(face.on(nose), shade, 0.012)
    glow = max(look.smile, 0.0)
    blush = tuple(round(0.6 * c + 0.4 * b) for c, b in zip(skin, (220, 80, 80), strict=True))
    for sign in (-1.0, 1.0):
        cheek = ellipse(sign * 0.58, 0.33, 0.19, 0.12)
        pen.fill(face.on(cheek), (blush[0], blush[1], blush[2]), 0.1 + 0.6 * glow)
    _mouth(pen, look, face, skin)
    if look.mustache:
        half = [
            (0.0, 0.4),
            (0.15, 0.36),
            (0.33, 0.41),
            (0.5, 0.52),
            (0.33, 0.5),
            (0.15, 0.47),
            (0.0, 0.46),
        ]
        pen.fill(face.on(smooth(mirrored(half))), darker(hair, 0.2))


def draw_glasses(pen: Pen, kind: str, face: Face) -> None:
    """Round ones with clear glass, or sunglasses; nothing for Blank."""
    if kind == "Blank":
        return
    dark = kind == "Sunglasses"
    width = 0.02 if dark else 0.013
    for sign in (-1.0, 1.0):
        if sign * face.turn < 0.9:
            temple = np.array([(sign * 0.68, EYE_LINE - 0.03), (sign * 0.97, EYE_LINE - 0.05)])
            pen.line(face.on(temple), palette.FRAME, width)
    pen.line(
        face.on([(-0.16, EYE_LINE - 0.02), (0.0, EYE_LINE - 0.05), (0.16, EYE_LINE - 0.02)]),
        palette.FRAME,
        width,
    )
    for sign in (-1.0, 1.0):
        if dark:
            corners = [
                (0.1, -0.13),
                (0.42, -0.16),
                (0.74, -0.14),
                (0.74, 0.02),
                (0.6, 0.17),
                (0.3, 0.18),
                (0.14, 0.08),
            ]
            lens = face.on(smooth([(sign * u, EYE_LINE + v) for u, v in corners]))
            pen.fill(lens, palette.LENS)
            gleam = [(-0.22, -0.09), (-0.08, -0.1), (-0.2, 0.09), (-0.28, 0.07)]
            pen.fill(
                face.on([(sign * EYES_AT + u, EYE_LINE + v) for u, v in gleam]),
                (255, 255, 255),
                0.3,
            )
        else:
            lens = face.on(ellipse(sign * EYES_AT, EYE_LINE, 0.29, 0.2))
            pen.fill(lens, (255, 255, 255), 0.22)
            pen.line(lens, palette.FRAME, width)


def _ear(pen: Pen, face: Face, sign: float, at: float, skin: Color) -> None:
    pen.fill(face.flat(ellipse(sign * at, 0.06, 0.15, 0.16)), darker(skin, 0.05))
    pen.fill(face.flat(ellipse(sign * at, 0.06, 0.08, 0.09)), darker(skin, 0.2))


def _eye(pen: Pen, kind: str, face: Face, sign: float, skin: Color) -> None:
    u, v = sign * EYES_AT, EYE_LINE
    if kind == "Happy" or (kind == "Wink" and sign > 0):
        arc = [
            (u - 0.18, v + 0.05),
            (u - 0.09, v - 0.04),
            (u, v - 0.065),
            (u + 0.09, v - 0.04),
            (u + 0.18, v + 0.05),
        ]
        pen.line(face.on(smooth(arc, closed=False)), palette.IRIS, 0.016)
        return
    height = {"Squint": 0.065, "Surprised": 0.16}.get(kind, 0.115)
    white = ellipse(u, v, 0.19, height)
    pen.fill(face.on(white), palette.EYE_WHITE)
    pupil = u + (0.08 if kind == "Side" else 0.0)
    radius = min(height, 0.1)
    pen.fill(face.on(ellipse(pupil, v, radius * 1.25, radius)), palette.IRIS)
    pen.fill(face.on(ellipse(pupil - 0.04, v - radius * 0.4, 0.035, 0.028)), (255, 255, 255))
    lid = ellipse(u, v, 0.19, height, begin=180.0, end=360.0)
    pen.line(face.on(lid), darker(skin, 0.6), 0.012)


def _brow(pen: Pen, kind: str, face: Face, sign: float, color: Color) -> None:
    lift = {"Surprised": -0.09, "Squint": 0.05, "Happy": -0.02}.get(kind, 0.0)
    inner = 0.03 if kind == "Squint" else 0.0
    arc = [(0.2, -0.22 + inner), (0.42, -0.275), (0.64, -0.21)]
    path = smooth([(sign * u, EYE_LINE + v + lift) for u, v in arc], closed=False)
    pen.line(face.on(path), color, 0.02)


def _mouth(pen: Pen, look: Look, face: Face, skin: Color) -> None:
    smile = look.smile
    half = 0.34 + 0.16 * max(smile, 0.0)
    corner, middle = 0.6 - 0.14 * smile, 0.58 + 0.1 * smile
    u = np.linspace(-1.0, 1.0, 17)
    if not look.mouth_open:
        upper = np.stack([half * u, corner + (middle - corner) * (1 - u**2)], 1)
        # a broad smile bares the teeth
        bare = 0.17 * float(np.clip((smile - 0.35) / 0.4, 0.0, 1.0))
        lower = upper + np.stack([np.zeros(17), bare * (1 - u**2) ** 0.7], 1)
        pen.fill(face.on(np.concatenate([upper, lower[::-1]])), palette.TEETH)
        pen.line(face.on(lower), palette.LIPS, 0.022)
        pen.line(face.on(upper), palette.LIPS, 0.022)
        return
    gape = 0.19 + 0.08 * max(smile, 0.0)
    edge = np.stack([half * u, corner + (middle - 0.05 - corner) * (1 - u**2)], 1)
    lower = np.stack([half * u, corner + (middle + gape - corner) * (1 - u**2) ** 0.7], 1)
    opening = np.concatenate([edge, lower[::-1]])
    pen.fill(face.on(opening), palette.MOUTH)
    teeth = np.stack([half * 0.86 * u, edge[:, 1] + 0.08 * (1 - u**2) ** 0.5], 1)
    pen.fill(face.on(np.concatenate([edge * [0.86, 1.0], teeth[::-1]])), palette.TEETH)
    pen.fill(face.on(ellipse(0.0, middle + gape - 0.035, half * 0.5, 0.04)), palette.TONGUE)
    pen.line(face.on(np.concatenate([opening, opening[:1]])), palette.LIPS, 0.014)
