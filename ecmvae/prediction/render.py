"""Drawing masks: overlays, heat maps, spotlights, a strip of loudness. The only door to OpenCV.

All pictures are (H, W, 3) uint8 RGB, all maps (H, W) float32 in [0, 1]; inputs are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from ecmvae.prediction.options import Style

TINT = (255, 32, 160)
"""Colour of masks, RGB."""
_TINT_STRENGTH = 0.45
_DIMMED = 0.3  # brightness of what a spotlight leaves in the dark
_LEVELS = np.arange(256)[None, :, None]
_DIMMING = np.round(_LEVELS * _DIMMED).astype(np.uint8)
# Colours of a heat-map by level, RGB; and for laying one over a frame: how much it covers, and what it adds.
_RAMP = np.arange(256, dtype=np.uint8)[:, None]
# (256, 1, 3)
_HEAT = np.asarray(cv2.cvtColor(cv2.applyColorMap(_RAMP, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB))
_COVER = (0.15 + 0.5 * _RAMP / 255)[..., None]
_HEAT_ADDS = np.round(_HEAT * _COVER).astype(np.uint8)
_FRAME_KEEPS = np.round(255 * (1 - _COVER)).astype(np.uint8).repeat(3, axis=2)
_STRIP_SHARE = 0.08  # of the picture's height
_BAR_COLOUR = (80, 220, 120)
_CURSOR_COLOUR = (255, 255, 255)


def overlay(
    frame: UInt8[np.ndarray, "h w 3"],
    probability: Float[np.ndarray, "h w"],
    *,
    mask: Bool[np.ndarray, "h w"],
    style: Style = "contour",
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw where an object sounds.

    Args:
        frame: The source frame.
        probability: That a pixel belongs to a sounding object.
        mask: The thresholded probability.
        style: "contour" tints the mask and outlines it; "heatmap" lays the probability over the whole picture;
            "spotlight" darkens everything that is silent.
    """
    if style == "heatmap":
        levels = _levels(probability)
        kept = cv2.multiply(frame, cv2.applyColorMap(levels, _FRAME_KEEPS), scale=1 / 255)
        return np.asarray(cv2.add(kept, cv2.applyColorMap(levels, _HEAT_ADDS)), np.uint8)
    inside = mask.view(np.uint8)
    if style == "spotlight":
        return np.asarray(cv2.copyTo(frame, inside, cv2.LUT(frame, _DIMMING)), np.uint8)
    return _tinted(frame, [(inside, TINT)])


def object_overlay(
    frame: UInt8[np.ndarray, "h w 3"],
    objects: Iterable[tuple[Bool[np.ndarray, "h w"], tuple[int, int, int]]],
) -> UInt8[np.ndarray, "h w 3"]:
    """Tint and outline each mask in its colour.

    Args:
        frame: The source frame.
        objects: Mask and colour, RGB, of each.
    """
    return _tinted(frame, [(mask.view(np.uint8), colour) for mask, colour in objects])


def _tinted(
    frame: UInt8[np.ndarray, "h w 3"],
    regions: Iterable[tuple[UInt8[np.ndarray, "h w"], Sequence[int]]],
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with each region, 1 inside and 0 outside, tinted and outlined in its colour."""
    result = frame.copy()
    for inside, colour in regions:
        left, top, width, height = cv2.boundingRect(inside)
        if width:  # only where the mask is: it is often a small part of a large picture
            box = (slice(top, top + height), slice(left, left + width))
            mixed = np.round(
                _LEVELS * (1 - _TINT_STRENGTH) + np.array(colour) * _TINT_STRENGTH
            ).astype(np.uint8)
            result[box] = cv2.copyTo(cv2.LUT(frame[box], mixed), inside[box], result[box])
        contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(
            result, contours, -1, colour, thickness=max(round(min(frame.shape[:2]) / 240), 1)
        )
    return result


def with_legend(
    picture: UInt8[np.ndarray, "h w 3"], entries: Sequence[tuple[str, tuple[int, int, int]]]
) -> UInt8[np.ndarray, "h w 3"]:
    """Names beside swatches of their colours, from the upper left corner down."""
    result = picture.copy()
    row = max(round(picture.shape[0] / 18), 12)
    scale, pen = row / 30, max(row // 16, 1)
    for place, (name, colour) in enumerate(entries):
        top = row // 2 + place * row
        cv2.rectangle(
            result, (row // 2, top), (row, top + row * 2 // 3), colour, thickness=cv2.FILLED
        )
        left, foot = row + row // 3, top + row * 2 // 3
        # The rim is the name itself, moved: a thicker pen would draw wider letters.
        for x, y, shade in ((-pen, 0, 0), (pen, 0, 0), (0, -pen, 0), (0, pen, 0), (0, 0, 255)):
            place_of = (left + x, foot + y)
            cv2.putText(
                result,
                name,
                place_of,
                cv2.FONT_HERSHEY_SIMPLEX,
                scale,
                (shade,) * 3,
                pen,
                cv2.LINE_AA,
            )
    return result


def heat(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Values in [0, 1] as colours from black over red and yellow to white."""
    return np.asarray(cv2.applyColorMap(_levels(values), _HEAT), np.uint8)


def enlarge(
    values: Float[np.ndarray, "h w"], height: int, width: int
) -> Float[np.ndarray, "h0 w0"]:
    """A small float32 map at the size of its frame, bilinear between the centres of the pixels."""
    return np.asarray(
        cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def cutout(
    frame: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 4"]:
    """The masked part of a frame on a transparent ground, RGBA."""
    return np.dstack([np.where(mask[..., None], frame, np.uint8(0)), mask.astype(np.uint8) * 255])


def with_loudness_strip(
    picture: UInt8[np.ndarray, "h w 3"], activity: Float[np.ndarray, " s"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay the loudness of the last moments over the foot of a picture: newest at the right.

    Args:
        picture: Any picture.
        activity: Loudness values in [0, 1], oldest first; they are spread over the whole width.
    """
    height, width = picture.shape[:2]
    strip = max(round(height * _STRIP_SHARE), 1)
    result = picture.copy()
    foot = result[height - strip :]
    foot //= 3
    levels = np.interp(np.arange(width), np.linspace(0, width - 1, len(activity)), activity)
    rows = np.arange(strip, 0, -1)[:, None]  # height of each row above the foot
    bars = rows <= np.round(levels * strip)[None, :]
    foot[:] = cv2.copyTo(np.full_like(foot, _BAR_COLOUR), bars.view(np.uint8), foot)
    foot[:, -1] = _CURSOR_COLOUR
    return result


def _levels(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """[0, 1] as 0 to 255, rounded; what lies above is cut off."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=255), np.uint8)
