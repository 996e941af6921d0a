"""The video in another aspect: a crop that follows what sounds."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from ecmvae.data.video import stream_frames
from ecmvae.errors import UserError
from ecmvae.prediction.options import parse_aspect
from ecmvae.prediction.reframing import CropPlanner, ReframeOptions
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter


class ReframeWriter(FrameWriter):
    """The source cropped to `WriterOptions.reframe`, 9:16 by default, with its sound: H.264.

    The path of the crop is planned once all masks are known (`ecmvae.prediction.reframing`); the video is then decoded
    once more to be cropped, so that memory does not grow with its length.
    """

    ending, suffixes = ".reframe.mp4", (".mp4", ".mov")
    uses_frame = False

    def open(self) -> None:
        """Begin to collect the masks."""
        info, options = (
            self.info,
            ReframeOptions(aspect=parse_aspect(self.options.reframe or "9:16")),
        )
        self._planner = CropPlanner(info.height, info.width, options, info.sample_aspect)
        self._times: list[float] = []
        self._first = 0
        height, width = self._planner.size
        self._video = self.open_video(width=width, height=height)

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Note what the mask demands; the frame itself is not used."""
        if not self._times:
            self._first = result.index
        self._planner.add(result.mask, result.time)
        self._times.append(result.time)

    def finish(self) -> None:
        """Crop the video."""
        height, width = self._planner.size
        path = self._planner.path()
        count = 0
        for frame in stream_frames(self.info.path, warn=False):
            place = frame.index - self._first
            if place < 0:
                continue
            if place >= len(path):
                break
            start = int(path[place])
            top, left = (0, start) if self._planner.axis == 1 else (start, 0)
            crop = frame.rgb()[top : top + height, left : left + width]
            self._video.write(np.ascontiguousarray(crop), self._times[place])
            count += 1
        if count != len(path):
            raise UserError(
                f"{self.info.path} decoded to another number of frames the second time: it is damaged, or was changed"
            )
