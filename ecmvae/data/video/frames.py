"""The picture of a video, frame by frame on a clock that starts at zero and never runs back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.container import (
    decoded,
    longest_gap,
    no_frame,
    open_container,
    quarter_turns,
    video_info,
    video_stream,
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


_LONGEST = 10.0
"""Seconds that a frame may be shown by its own or the average duration beyond the end that the file declares: a damaged
rate claims hours, each of which would go through the model."""
_ROUNDING = 1.5e-3  # seconds: Matroska and FLV keep whole milliseconds


class PictureConverter:
    """Decoded pictures as RGB, by FFmpeg's scalers that are kept from picture to picture.

    Setting a scaler up takes as long as converting 480p. Full-size and scaled pictures have one each, else every change
    of size would set it up again.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._scalers = VideoReformatter(), VideoReformatter()
        self._lock = Lock()  # a scaler serves one thread at a time

    def __call__(
        self, picture: VideoFrame, size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, as it is stored; `size` is (H, W) to scale to, None = as it is."""
        height, width = size or (None, None)
        with self._lock:
            converted = self._scalers[size is not None].reformat(
                picture, format="rgb24", width=width, height=height, interpolation="BILINEAR"
            )
        pixels: NDArray[np.uint8] = np.asarray(converted.to_ndarray(), np.uint8)
        return pixels


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
    converter: PictureConverter | None = field(default=None, repr=False, compare=False)
    """Of the frames of this video; None = one for this frame."""

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
        converter = self.converter or PictureConverter()
        stored = (size[1], size[0]) if size and turns % 2 else size
        return np.ascontiguousarray(np.rot90(converter(self.picture, stored), turns))


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


class OpenVideo:
    """A video that is open: what it declares, and its frames, with one opening of the file and one decoding.

    Used as a context manager; it may be opened in one thread and read in another.

    Args:
        path: Video file.
        warn: Log what is damaged; a second reader of the same file need not say it again.

    Attributes:
        info: What the file declares, and how its first frame looks.

    Raises:
        UserError: If the file cannot be read, has no picture track, or not one frame can be decoded.
    """

    def __init__(self, path: str | Path, *, warn: bool = True) -> None:
        path = Path(path)
        with ExitStack() as stack:
            self._container = stack.enter_context(open_container(path))
            self._stream = video_stream(self._container, path)
            self._stream.thread_type = "AUTO"
            packets = decoded(self._container, self._stream, warn=warn)
            first = next((frames for frames in packets if frames), None)
            if first is None:
                raise no_frame(path)
            self.info = video_info(path, self._container, self._stream, first[0])
            self._pictures = chain(first, chain.from_iterable(packets))
            self._stack = stack.pop_all()

    def frames(self) -> Iterator[SourceFrame]:
        """All frames, once, one in memory at a time.

        Timestamps are the file's own, so a variable frame rate is kept; where they stand still, jump back (joined
        recordings) or ahead by more than `longest_gap`, the clock goes on by one average frame.
        """
        container, stream = self._container, self._stream
        rate = stream.average_rate or stream.guessed_rate
        declared = container.duration / 1_000_000 if container.duration else math.inf
        usual = min(float(1 / rate) if rate else 1 / 25, max(declared, _LONGEST))
        clock, converter = PictureClock(usual, longest_gap(container)), PictureConverter()
        size: tuple[int, int] | None = None
        for index, frame in enumerate(self._pictures):
            if size is None:
                size = (frame.width, frame.height)
            elif size != (frame.width, frame.height):
                # a stream may change size half-way: keep the first
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
            yield SourceFrame(index, time, length, frame, converter)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> OpenVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stream_frames(path: Path, *, warn: bool = True) -> Iterator[SourceFrame]:
    """All frames of a video, one in memory at a time; see `OpenVideo.frames`.

    Raises:
        UserError: If the file cannot be read, has no picture track, or not one frame can be decoded.
    """
    with OpenVideo(path, warn=warn) as video:
        yield from video.frames()
