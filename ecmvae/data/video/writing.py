"""Writing videos: H.264 and AAC in MP4, or VP9 with transparency and Opus in WebM.

One frame and a second of sound are in memory at any time, whatever the length. The same input gives the same bytes: the
number of encoder threads is fixed, x264 is told to ignore which CPU it runs on, and no date or version is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.container import VideoInfo
from ecmvae.data.video.soundtrack import (
    CopiedSound,
    EncodedSound,
    soundtrack_of,
    waveform_soundtrack,
)
from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# a timestamp unit that 24, 25, 30, 50 and 60 frames a second divide exactly
_CLOCK = Fraction(1, 90_000)
# frames a second that the encoders are told; each frame has a time of its own
_SLOWEST = Fraction(1, 1000)
_SHORTEST = 0.002
"""Seconds that a frame is shown at least, if no other follows: MP4 notes the length of a track in milliseconds, and
nothing of a track of zero is played."""
_BT709 = 1  # the same number in FFmpeg's lists of matrices, primaries and transfer curves
_LIMITED_RANGE = 1

VideoCodec = Literal["h264", "vp9"]
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"x264-params": "cpu-independent=1", "preset": "veryfast"}),
    "vp9": (
        "libvpx-vp9",
        {"auto-alt-ref": "0", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    ),
}


class VideoWriter:
    """Writes frames one by one; the file appears under its name only when all went well.

    Example:
        >>> with VideoWriter(path, width=320, height=240, fps=25) as writer:  # doctest: +SKIP
        ...     writer.write(frame)

    Args:
        path: Output file: `.mp4` or `.mov` for H.264, `.webm` for VP9.
        width: Pixels of every frame; H.264 pads an odd one to even by repeating the last column.
        height: Pixels of every frame; padded likewise.
        fps: Frames a second; frames that come with their own time may deviate from it.
        waveform: (S,) or (C, S) float32 in [-1, 1], or None.
        sample_rate: Hz, needed with `waveform`.
        copy_audio_from: Take the sound from this file (or probed file): copied packet by packet where the container
            holds its codec, else encoded again (with a line in the log).
        audio_track: Which track of that file, from 0.
        codec: `h264` or `vp9`.
        alpha: Frames are (H, W, 4) with transparency; VP9 only.
        quality: Constant rate factor: 0 is lossless, 18 looks like the original, larger is smaller.
        sample_aspect: Width of a pixel over its height.

    Raises:
        ValueError: If the options contradict each other.
    """

    _index: ClassVar[str] = "+faststart"
    """Where MP4 has its index: first, so that a browser plays before it has everything."""
    _tuning: ClassVar[dict[str, str]] = {}
    """Further options of the encoder."""

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: int | float | Fraction,
        waveform: NDArray[np.float32] | None = None,
        sample_rate: int | None = None,
        copy_audio_from: Path | VideoInfo | None = None,
        audio_track: int = 0,
        codec: VideoCodec = "h264",
        alpha: bool = False,
        quality: int = 20,
        sample_aspect: Fraction = Fraction(1),
    ) -> None:
        from av.video.reformatter import VideoReformatter

        if waveform is not None and sample_rate is None:
            raise ValueError("a waveform needs its sample_rate in Hz")
        if waveform is not None and copy_audio_from is not None:
            raise ValueError("give a waveform or a file to copy the sound from, not both")
        if alpha and codec != "vp9":
            raise ValueError("only VP9 carries transparency: choose codec='vp9'")
        self._path = path
        self._shape = (height, width, 4 if alpha else 3)
        self._next = 0  # index of the next frame
        self._last_pts = -1
        self._end = 0.0
        self._frame_seconds = float(1 / fps)
        # kept, since setting one up takes longer than a small frame
        self._converter = VideoReformatter()
        with ExitStack() as stack:
            self._container = self._open(path, stack)
            rate = max(Fraction(fps).limit_denominator(1001), _SLOWEST)  # 23.976 becomes 24000/1001
            self._stream = self._add_stream(codec, alpha, quality, rate, sample_aspect)
            self._sound: EncodedSound | CopiedSound | None = None
            if waveform is not None and sample_rate is not None:
                self._sound = waveform_soundtrack(self._container, waveform, sample_rate)
            elif copy_audio_from is not None:
                self._sound = soundtrack_of(self._container, copy_audio_from, audio_track, stack)
            self._stack = stack.pop_all()

    def _open(self, path: Path, stack: ExitStack) -> OutputContainer:
        """The container that is written to; `stack` closes it."""
        import av

        flags = {"fflags": "+bitexact"}
        if path.suffix.lower() in {".mp4", ".mov", ".m4v"}:
            flags["movflags"] = self._index
        temporary = stack.enter_context(replacing(path))
        return stack.enter_context(av.open(str(temporary), "w", container_options=flags))

    def _add_stream(
        self, codec: VideoCodec, alpha: bool, quality: int, rate: Fraction, sample_aspect: Fraction
    ) -> VideoStream:
        name, options = _ENCODERS[codec]
        options = options | {"crf": str(quality), "threads": "4"} | self._tuning
        stream = cast("VideoStream", self._container.add_stream(name, rate=rate, options=options))
        height, width, _ = self._shape
        context = stream.codec_context
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuva420p" if alpha else "yuv420p"
        context.time_base = _CLOCK
        context.sample_aspect_ratio = sample_aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT: no encoder version in the stream
        return stream

    def write(self, frame: NDArray[np.uint8], time: float | None = None) -> None:
        """Append a frame, (H, W, 3) uint8 RGB or (H, W, 4) with alpha, at `time` seconds; None = after the last.

        Raises:
            ValueError: If the frame has another size than the video.
            UserError: If the encoder does not take pictures of that size.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        if frame.shape != self._shape:
            raise ValueError(
                f"a frame of shape {frame.shape} does not fit a video of {self._shape}"
            )
        height, width, channels = self._shape
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        start = self._next * self._frame_seconds if time is None else time
        self._next += 1
        # shared with FFmpeg, which only reads it to make a picture of its own
        pixels = np.ascontiguousarray(frame)
        shared = av.VideoFrame.from_numpy_buffer(
            pixels, format="rgba" if channels == 4 else "rgb24"
        )
        picture = self._converter.reformat(
            shared,
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        # strictly rising, as MP4 wants it
        self._last_pts = max(self._last_pts + 1, round(start / _CLOCK))
        picture.pts, picture.time_base = self._last_pts, _CLOCK
        picture.duration = round(self._frame_seconds / _CLOCK)
        self._end = float(self._last_pts * _CLOCK) + self._frame_seconds
        try:
            packets = self._stream.encode(picture)
        except (
            av.error.ExternalError
        ) as error:  # the encoder opens with the first frame, and gives no reason
            encoder = self._stream.codec_context.name
            raise UserError(
                f"{encoder} cannot encode {show_path(self._path)} with {width} x {height} pixels: scale the video down"
            ) from error
        self._mux(packets)
        if self._sound is not None:
            self._sound.advance(self._end)

    def _mux(self, packets: Iterable[Packet[VideoStream]]) -> None:
        for packet in packets:
            if self._frame_seconds < _SHORTEST:
                packet.duration = round(_SHORTEST / packet.time_base)
            self._container.mux(packet)

    def close(self) -> None:
        """Flush the encoders and give the file its name; a ValueError if no frame was written."""
        with self._stack:
            if self._next == 0:
                raise ValueError("a video needs at least one frame")
            self._mux(self._stream.encode(None))
            if self._sound is not None:
                self._sound.finish(self._end)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            self.close()
        else:  # unwinding with the error removes the unfinished file
            self._stack.__exit__(kind, *error)


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: int | float | Fraction,
    waveform: NDArray[np.float32] | None = None,
    sample_rate: int | None = None,
    copy_audio_from: Path | None = None,
) -> None:
    """Write frames, (H, W, 3) uint8 RGB each, and sound as an H.264 + AAC file; see `VideoWriter` for the options.

    Sound is cut, or left short, at the end of the picture.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = first.shape[:2]
    sound: dict[str, Any] = {
        "waveform": waveform,
        "sample_rate": sample_rate,
        "copy_audio_from": copy_audio_from,
    }
    with VideoWriter(path, width=width, height=height, fps=fps, **sound) as writer:
        for frame in chain([first], iterator):
            writer.write(frame)


def missing_encoders() -> list[str]:
    """Encoders that our outputs need and that this build of FFmpeg lacks; empty for PyAV's own wheels."""
    from av.codec import codecs_available

    needed = [name for name, _ in _ENCODERS.values()] + ["aac", "libopus"]
    return [name for name in needed if name not in codecs_available]
