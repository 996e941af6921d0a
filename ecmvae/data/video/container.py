"""Opening a video: what is in the file, and one clear line when it is not a video at all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import open_regular

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

_DISCONTINUOUS = (
    0x0200  # FFmpeg's AVFMT_TS_DISCONT: MPEG-TS and others, where the clock may start again
)

# A playlist (HLS, concat) that calls itself .mp4 could make FFmpeg open other files and addresses: allow none.
_NO_OTHER_FILES = {"protocol_whitelist": "none"}


@dataclass(frozen=True, kw_only=True)
class AudioTrack:
    """One audio track of a video file."""

    codec: str
    """FFmpeg's name of the codec, such as `aac`; "" for one that this build of PyAV cannot decode."""
    channels: int
    sample_rate: int
    """Hz."""
    language: str
    """ISO 639-2 code, or "" where the file does not say."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video file declares, and how its first frame looks.

    `duration` and `frame_count` are the container's claims: good for a progress bar, never for a loop.
    """

    path: Path
    width: int
    """Pixels, after rotation."""
    height: int
    """Pixels, after rotation."""
    rotation: int
    """Quarter turns counter-clockwise (0..3) that put the stored picture upright."""
    fps: Fraction
    """Average frame rate; the frames' own timestamps are what counts."""
    duration: float | None
    """Declared seconds, None where the container does not say."""
    frame_count: int | None
    """Declared number of frames, None where the container does not say."""
    codec: str
    sample_aspect: Fraction
    """Width of a pixel over its height, after rotation; 1 for nearly all files."""
    start: float
    """Timestamp of the first frame in the file's own clock; all times we report count from it."""
    audio_tracks: tuple[AudioTrack, ...]


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading.

    The file is handed to FFmpeg as a Python file object: any name works (quotes, newlines, bytes that are not UTF-8,
    names that look like an address), and nothing but this file is ever opened.

    Raises:
        UserError: If the path is missing, a folder, unreadable, empty or not a media file.
    """
    import av

    name = show_path(path)
    try:
        file = open_regular(path)
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{name} is a folder: name the video files in it") from error
    except OSError as error:
        raise UserError(
            f"cannot read {name} ({error.strerror or error}): check the path and its permissions"
        ) from error
    with file:
        if not file.read(1):
            raise UserError(f"{name} is empty (0 bytes): copy or download it again")
        file.seek(0)
        try:
            container = av.open(
                file, "r", container_options=_NO_OTHER_FILES, metadata_errors="replace"
            )
        except (
            av.FFmpegError,
            OSError,
            ValueError,
        ) as error:  # OSError: its index points outside the file
            raise UserError(f"{name} is not a video that can be read ({reason(error)})") from error
        with container:
            yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first moving-picture track (not a song's cover); a `UserError` if there is none that can be decoded."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "only sound" if container.streams.audio else "neither picture nor sound"
        raise UserError(f"{show_path(path)} has {what}: a video with a picture track is needed")
    stream = streams[0]
    if stream.codec_context is None:
        raise UserError(
            f"{show_path(path)} has a picture track in a codec that this build of PyAV cannot decode"
        )
    return stream


def probe(path: str | Path) -> VideoInfo:
    """Look into a video file: its picture, its sound, its first frame.

    Raises:
        UserError: If the file cannot be read, has no picture track, or not one frame can be decoded.
    """
    path = Path(path)
    with open_container(path) as container:
        stream = video_stream(container, path)
        frame = next(
            (frame for frames in decoded(container, stream, warn=False) for frame in frames), None
        )
        if frame is None:
            raise no_frame(path)
        return video_info(path, container, stream, frame)


def video_info(
    path: Path, container: InputContainer, stream: VideoStream, frame: VideoFrame
) -> VideoInfo:
    """What an open file declares about itself and its picture track, whose first frame is `frame`."""
    turns = quarter_turns(frame)
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    seconds = None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / 1_000_000
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rotation=turns,
        fps=stream.average_rate or stream.guessed_rate or Fraction(25),
        duration=seconds if seconds and seconds > 0 else None,
        frame_count=stream.frames or None,
        codec=stream.codec_context.codec.canonical_name,
        sample_aspect=1 / aspect if turns % 2 else aspect,
        start=frame.time or 0.0,
        audio_tracks=tuple(audio_track_of(track) for track in container.streams.audio),
    )


def no_frame(path: Path) -> UserError:
    """What to raise for a video whose picture track decodes to nothing."""
    return UserError(
        f"not one frame of {show_path(path)} can be decoded: the file is damaged or cut short"
    )


def audio_track_of(track: AudioStream) -> AudioTrack:
    """What a container declares about one of its audio tracks."""
    language, context = track.language or "", track.codec_context
    if context is None:
        return AudioTrack(codec="", channels=0, sample_rate=0, language=language)
    name = context.codec.canonical_name
    return AudioTrack(
        codec=name, channels=context.channels, sample_rate=context.sample_rate, language=language
    )


def quarter_turns(frame: VideoFrame) -> int:
    """Counter-clockwise quarter turns that put a stored frame upright; phones rarely store other angles."""
    return round(frame.rotation / 90) % 4


def audio_stream(container: InputContainer, track: int, path: Path) -> AudioStream | None:
    """Audio track number `track`, counted from 0; None when the file has no sound, or none that can be decoded.

    A file that has sound, but not that track, is a `UserError`.
    """
    tracks = container.streams.audio
    if not tracks:
        return None
    if not 0 <= track < len(tracks):
        raise UserError(
            f"{show_path(path)} has {len(tracks)} audio track(s), numbered from 0: there is no {track}"
        )
    return None if tracks[track].codec_context is None else tracks[track]


def reason(error: Exception) -> str:
    """FFmpeg's own words, on one line: "Invalid data found when processing input"."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def longest_gap(container: InputContainer) -> float:
    """Seconds that a track may pause; a clock that runs further ahead is at fault, and what follows goes on behind.

    FFmpeg's own limit (dts_delta_threshold) where the format lets the clock start again, such as MPEG-TS, of which one
    damaged packet can claim a pause of a day. Elsewhere a picture may well stand for long.
    """
    return 10.0 if container.format.flags & _DISCONTINUOUS else 3600.0


def demuxed(container: InputContainer, stream: Stream, *, warn: bool = True) -> Iterator[Any]:
    """The packets of a track as far as the file can be read; one that is cut short ends early.

    With `warn` that is a line in the log; a second reader of the same file need not say it again.
    """
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (
            IndexError
        ):  # a track that was not there at first, as in TV recordings: PyAV knows no place for it
            packets = container.demux(stream)  # goes on behind it
            continue
        except (
            av.FFmpegError,
            OSError,
            EOFError,
        ) as error:  # OSError: the disk, or an index that points outside
            if warn:
                logger.warning(
                    "%s: reading stopped early (%s)", show_path(Path(container.name)), reason(error)
                )
            return
        if packet is None:
            return
        yield packet


def decoded(container: InputContainer, stream: Stream, *, warn: bool = True) -> Iterator[list[Any]]:
    """The frames of each packet of a track, often one, sometimes none.

    Broken packets are left out, and with `warn` counted in one line of the log.
    """
    import av

    damaged = 0
    for packet in demuxed(container, stream, warn=warn):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        yield frames
    if damaged and warn:
        name = show_path(Path(container.name))
        logger.warning(
            "%s: %d damaged packet(s) of the %s track left out", name, damaged, stream.type
        )
