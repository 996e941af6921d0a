"""The picture of a video, frame by frame on a clock that starts at zero and never runs back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.container import (
    decoded,
    longest_gap,
    no_frame,
    open_container,
    quarter_turns,
    video_stream,
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter


_LONGEST = 10.0
"""Seconds that a frame may be shown by its own or the average duration beyond the end that the file declares: a damaged
rate claims hours, each of which would go through the model."""
_ROUNDING = 1.5e-3  # seconds: Matroska and FLV keep whole milliseconds


@dataclass(frozen=True)
class SourceFrame:
    """One decoded frame; its pixels are converted only when asked for."""

    index: int
    time: float
    """Seconds since the first frame."""
    duration: float
    """Seconds that the file says it is shown, or one average frame."""
    picture: VideoFrame | NDArray[np.uint8]
    """As decoded, or (H, W, 3) uint8 RGB."""

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright; any pixel format and bit depth comes out as 8 bits, alpha is dropped.

        Args:
            size: (H, W) to scale to with an anti-aliasing bilinear filter; None = as it is. A decoded frame is scaled
                before its colours are converted, which for a large one costs a tenth.
        """
        if isinstance(self.picture, np.ndarray):
            return (
                self.picture
                if size in (None, self.picture.shape[:2])
                else _scaled(self.picture, size)
            )
        turns = quarter_turns(self.picture)
        height, width = size or (None, None)
        if turns % 2:
            height, width = width, height
        converter = _CONVERTERS.full if size is None else _CONVERTERS.scaling
        converted = converter.reformat(
            self.picture, format="rgb24", width=width, height=height, interpolation="BILINEAR"
        )
        return np.ascontiguousarray(np.rot90(converted.to_ndarray(), turns))


class _Converters(local):
    """FFmpeg's scalers of one thread, kept from frame to frame: setting one up takes as long as converting 480p.

    One scaler serves one thread at a time. Full-size and scaled pictures have one each, else every change of size would
    set it up again.
    """

    @cached_property
    def full(self) -> VideoReformatter:
        from av.video.reformatter import VideoReformatter

        return VideoReformatter()

    @cached_property
    def scaling(self) -> VideoReformatter:
        from av.video.reformatter import VideoReformatter

        return VideoReformatter()


_CONVERTERS = _Converters()


def _scaled(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


class PictureClock:
    """Times of successive frames, from 0 on, strictly rising.

    Where the source's own timestamps stand still, jump back or jump ahead, the clock goes on by one average frame.

    Args:
        usual: Seconds of an average frame.
        pause: Seconds that a frame may be shown; a larger step is a jump.
    """

    def __init__(self, usual: float, pause: float) -> None:
        self._usual, self._pause = usual, pause
        self._offset: float | None = None
        self._last = -usual

    def __call__(self, stamp: float | None) -> float:
        """The time of the next frame, whose timestamp in the source's clock is `stamp`; None where it has none."""
        if stamp is None:
            stamp = self._last + self._usual - (self._offset or 0.0)
        if self._offset is None:
            self._offset, self._last = -stamp, 0.0
            return 0.0
        time = stamp + self._offset
        if not self._last < time <= self._last + self._pause:
            time = self._last + self._usual
            # inexact where a damaged stamp is huge, hence the time itself is kept
            self._offset = time - stamp
        self._last = time
        return time


def stream_frames(path: Path, *, warn: bool = True) -> Iterator[SourceFrame]:
    """All frames of a video, one in memory at a time.

    Timestamps are the file's own, so a variable frame rate is kept; where they stand still, jump back (joined
    recordings) or ahead by more than `longest_gap`, the clock goes on by one average frame.

    Raises:
        UserError: If the file cannot be read, has no picture track, or not one frame can be decoded.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate
        declared = container.duration / 1_000_000 if container.duration else math.inf
        usual = min(float(1 / rate) if rate else 1 / 25, max(declared, _LONGEST))
        clock = PictureClock(usual, longest_gap(container))
        size: tuple[int, int] | None = None
        index = 0
        for frames in decoded(container, stream, warn=warn):
            for frame in frames:
                if size is None:
                    size = (frame.width, frame.height)
                elif size != (
                    frame.width,
                    frame.height,
                ):  # a stream may change size half-way: keep the first
                    frame = frame.reformat(width=size[0], height=size[1])
                time = clock(frame.time)
                length = (
                    float(frame.duration * frame.time_base)
                    if frame.duration and frame.time_base
                    else usual
                )
                if length <= 0 or abs(length - usual) < _ROUNDING:
                    length = usual
                length = min(length, max(declared - time, _LONGEST))
                yield SourceFrame(index, time, length, frame)
                index += 1
        # `probe` may have seen one: where threads decode, an error can take its neighbours with it
        if index == 0:
            raise no_frame(path)
