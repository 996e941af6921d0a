"""White masks on black without sound: H.264 in MP4."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from ecmvae.prediction import render
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter


class MaskVideoWriter(FrameWriter):
    """The masks as a video."""

    ending, label = ".mask.mp4", "Mask video"

    def open(self) -> None:
        """Begin the video."""
        self._video = self.open_video(sound=False, quality=12)

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not used."""
        self._video.write(render.mask_picture(result.mask), result.time)
