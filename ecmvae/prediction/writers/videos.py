"""Outputs that are videos: the overlay, the masks and the cut-out."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import UInt8

from ecmvae.prediction import render
from ecmvae.prediction.options import Style
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter

_LOUDNESS_SECONDS = 5.0  # shown in the strip


class OverlayWriter(FrameWriter):
    """The source with its masks and sound, a strip of loudness and, on request, the uncertainty beside it: H.264."""

    ending, suffixes, label = ".overlay.mp4", (".mp4", ".mov"), "Overlay video"

    def open(self) -> None:
        """Begin the video."""
        self._recent: deque[tuple[float, float]] = deque()  # time and loudness of the last frames
        self._video = self.open_video(
            width=self.info.width * (2 if self.options.uncertainty else 1)
        )

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a frame with its masks."""
        picture = _drawn(frame, result, self.options.style)
        if self.options.loudness:
            picture = self._with_loudness(picture, result)
        if self.options.uncertainty:
            picture = np.concatenate([picture, render.heat(result.uncertainty)], axis=1)
        self._video.write(picture, result.time)

    def _with_loudness(
        self, picture: UInt8[np.ndarray, "h w 3"], result: FrameResult
    ) -> UInt8[np.ndarray, "h w 3"]:
        start = result.time - _LOUDNESS_SECONDS
        self._recent.append((result.time, result.audio_activity))
        while self._recent[0][0] < start:
            self._recent.popleft()
        times, levels = np.array(self._recent).T
        moments = np.linspace(start, result.time, 256)
        return render.with_loudness_strip(picture, np.interp(moments, times, levels, left=0.0))


class MaskVideoWriter(FrameWriter):
    """White masks on black without sound: H.264."""

    ending, label = ".mask.mp4", "Mask video"
    uses_frame = False

    def open(self) -> None:
        """Begin the video."""
        self._video = self.open_video(sound=False, quality=12)

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not used."""
        self._video.write(np.repeat(result.mask[..., None] * np.uint8(255), 3, axis=2), result.time)


class CutoutWriter(FrameWriter):
    """What sounds on a transparent background, with the source's sound: VP9 with alpha."""

    ending, suffixes, label = ".cutout.webm", (".webm",), "Cut-out video"

    def open(self) -> None:
        """Begin the video."""
        self._video = self.open_video(codec="vp9", quality=30)

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a frame with its mask as alpha."""
        self._video.write(render.cutout(frame, result.mask), result.time)


def _drawn(
    frame: UInt8[np.ndarray, "h w 3"], result: FrameResult, style: Style
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with its masks, and with the names of its classes or things if the model knows any."""
    if result.classes is None:
        return render.overlay(frame, result.probability, mask=result.mask, style=style)
    found = result.objects
    if style == "contour":
        picture = render.object_overlay(frame, [(each.mask, each.colour) for each in found])
    else:
        picture = render.overlay(frame, result.probability, mask=result.mask, style=style)
    return render.with_legend(picture, [(each.label, each.colour) for each in found])
