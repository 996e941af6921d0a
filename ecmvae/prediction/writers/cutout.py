"""The sounding objects on a transparent background, with the source's sound: VP9 with alpha in WebM."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from ecmvae.prediction import render
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter


class CutoutWriter(FrameWriter):
    """Transparent outside the mask."""

    ending, suffixes, label = ".cutout.webm", (".webm",), "Cut-out video"

    def open(self) -> None:
        """Begin the video."""
        self._video = self.open_video(codec="vp9", quality=30)

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a frame with its mask as alpha."""
        self._video.write(render.cutout(frame, result.mask), result.time)
