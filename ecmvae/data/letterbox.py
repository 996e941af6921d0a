"""A picture of any shape in the model's square, its aspect kept, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, UInt8

from ecmvae.data.video import SourceFrame
from ecmvae.visual.normalisation import IMAGENET, Normalisation


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """The geometry between pictures of one size and the model's square.

    The picture is scaled to fit and centred; the bars carry the mean colour, which is 0 after normalisation. With
    `squash` it is stretched over the whole square instead, as AVSBench's preparation does.
    """

    height: int
    width: int
    """Pixels of the source, as is height."""
    side: int
    """Pixels of the model's square."""
    squash: bool = False
    """Stretch instead of adding bars."""
    sample_aspect: Fraction = Fraction(1)
    """Width of a source pixel over its height: anamorphic video is letterboxed as it is shown."""

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of the picture inside the square, in pixels; at least 1 each."""
        if self.squash:
            return self.side, self.side
        shown = self.width * float(self.sample_aspect)
        scale = self.side / max(self.height, shown)
        return max(round(self.height * scale), 1), max(round(shown * scale), 1)

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the picture's upper left pixel inside the square."""
        height, width = self.inner
        return (self.side - height) // 2, (self.side - width) // 2

    def fit(
        self, frame: SourceFrame, normalise: Normalisation = IMAGENET
    ) -> Float[np.ndarray, "3 s s"]:
        """A source frame as the model sees it: scaled with an anti-aliasing filter, and normalised."""
        return self.place(frame.rgb(self.inner), normalise)

    def place(
        self, picture: UInt8[np.ndarray, "h w 3"], normalise: Normalisation = IMAGENET
    ) -> Float[np.ndarray, "3 s s"]:
        """A picture that has been scaled to `inner`, normalised, in the square."""
        square = np.zeros((3, self.side, self.side), np.float32)
        self.crop(square)[:] = normalise.array(picture)
        return square

    def crop(self, maps: np.ndarray) -> np.ndarray:
        """The part of (..., S, S) maps that the picture covers, (..., *inner): a view."""
        (top, left), (height, width) = self.corner, self.inner
        return maps[..., top : top + height, left : left + width]
