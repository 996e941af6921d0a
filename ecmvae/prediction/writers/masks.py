"""A folder with one 8-bit PNG a frame: `000000.png`, `000001.png` ..."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ecmvae.prediction.classes import PALETTE
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter


class MasksWriter(FrameWriter):
    """Masks of 0 and 255; of a model with classes, class numbers with the VOC palette."""

    ending, suffixes = ".masks", ("",)

    def open(self) -> None:
        """Make the folder."""
        self.part.mkdir()

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Write the mask of a frame; the frame itself is not used."""
        if result.classes is None:
            picture = Image.fromarray(result.mask.astype(np.uint8) * 255)
        else:
            picture = Image.fromarray(result.classes)
            picture.putpalette(PALETTE.tobytes())
        picture.save(self.part / f"{result.index:06d}.png")
