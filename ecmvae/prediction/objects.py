"""The sounding objects of one frame: a mask for each thing that was tracked, or else for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from ecmvae.prediction.classes import PALETTE, by_area, class_name

SOUNDING = "sounding object"
"""Name of what a model without classes marks; its number is 1."""


@dataclass(frozen=True, eq=False)
class SoundingObject:
    """One mask.

    Attributes:
        mask: (H, W), not empty.
        category: Number of its class, from 1.
        name: Of its class.
        track: Number that it keeps through the video, from 1; None where things are not told apart.
    """

    mask: Bool[np.ndarray, "h w"]
    category: int
    name: str
    track: int | None = None

    @property
    def label(self) -> str:
        """Name and number, for people."""
        return self.name if self.track is None else f"{self.name} {self.track}"

    @property
    def colour(self) -> tuple[int, int, int]:
        """RGB, of its number or else of its class."""
        number = self.category if self.track is None else (self.track - 1) % (len(PALETTE) - 1) + 1
        red, green, blue = PALETTE[number].tolist()
        return red, green, blue


def objects_in(
    mask: Bool[np.ndarray, "h w"],
    classes: UInt8[np.ndarray, "h w"] | None = None,
    names: Sequence[str] = (),
    things: Int32[np.ndarray, "h w"] | None = None,
) -> list[SoundingObject]:
    """The objects of a frame, those of the largest class first; of one class, those with the lowest number first.

    Args:
        mask: Where something sounds.
        classes: Class of each pixel in the mask, 0 elsewhere; None = there are none.
        names: Of the classes, by number.
        things: Number of the thing at each pixel, 0 = none.
    """
    if classes is None:
        return [SoundingObject(mask, 1, SOUNDING)] if mask.any() else []
    found = []
    for number in by_area(classes):
        inside, name = classes == number, class_name(number, names)
        tracks = (0,) if things is None else np.unique(things[inside])
        for track in tracks:
            part = inside if things is None else inside & (things == track)
            found.append(SoundingObject(part, number, name, int(track) or None))
    return found
