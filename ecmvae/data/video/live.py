"""Reading a camera or a stream as it comes: the newest frames, and the last seconds of sound.

A thread reads and decodes. Frames not read within a quarter of a second are dropped, so that neither delay
nor memory grows where the machine is too slow. Sound is kept for some seconds, whatever becomes of the frames.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Any

from ecmvae.data.video.addresses import Address, Camera, Input, LiveSource
from ecmvae.data.video.container import (
    VideoInfo,
    audio_track_of,
    longest_gap,
    quarter_turns,
    reason,
)
from ecmvae.data.video.frames import PictureClock, SourceFrame
from ecmvae.data.video.live_writing import SOUND_CHANNELS, SOUND_RATE, ArrivedSound
from ecmvae.data.video.sound import HIGHEST_RATE, RecentSound, SoundBlocks
from ecmvae.errors import UserError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

LONGEST_WAIT = 0.25
"""Seconds after its arrival for which a frame may wait before it is dropped."""
PATIENCE = 10.0
"""Seconds without anything after which a stream counts as stopped."""
_EARLY = 500  # decoded blocks of sound that are kept until the first picture says where they belong
_LOOK_UP = 0.1  # seconds between two looks at whether anybody wants to end it


@dataclass(frozen=True)
class LiveFrame:
    """A frame and when it was there, by `time.monotonic`."""

    frame: SourceFrame
    arrived: float


class LiveStream:
    """A camera or stream that is being read. A context manager; iterating gives the frames, oldest first.

    Args:
        source: What to open.
        sample_rate: Hz of the sound that a model hears.
        seconds: How much of it is kept.
        track: Audio track, from 0.
        record: Gets the sound to be written; None = it is not.
        patience: Seconds without anything after which it counts as stopped.

    Attributes:
        info: What arrives; known once the block is entered.
        sound: The last seconds of sound.
        silent: Whether the stream has no sound track.
        dropped: Frames that were not taken in time.
        ended: Why nothing comes any more; "" while it does, or where it has ended by itself.

    Raises:
        UserError: On entering, when it cannot be opened, or no picture comes.
    """

    info: VideoInfo

    def __init__(
        self,
        source: LiveSource,
        *,
        sample_rate: int,
        seconds: float,
        track: int = 0,
        record: ArrivedSound | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.source, self._track, self._record, self._patience = source, track, record, patience
        self.sound = RecentSound(sample_rate, seconds)
        self.silent, self.dropped, self.damaged, self.ended = True, 0, 0, ""
        self._frames: deque[LiveFrame] = deque()
        self._changed = Condition()
        self._ready, self._over, self._stop = Event(), Event(), Event()
        self._failure: BaseException | None = None
        self._origin: float | None = None
        self._threads: list[Thread] = []

    def __enter__(self) -> LiveStream:
        self._start(self._read_picture)
        if isinstance(self.source, Camera) and self.source.sound is not None:
            self._start(self._read_microphone)
        started = time.monotonic()
        try:
            while not self._ready.wait(_LOOK_UP):
                if self._over.is_set():
                    raise self._failure or UserError(
                        self._cannot(self.ended or "it ended before the first picture")
                    )
                if time.monotonic() - started > 2 * self._patience:
                    raise UserError(self._cannot(f"no picture in {2 * self._patience:g} s"))
        except BaseException:
            self.stop()
            raise
        if self.silent and not (isinstance(self.source, Camera) and self.source.sound):
            logger.warning("%s has no sound: treated as silence", self.source.name)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(timeout=1.0)  # one that waits for data ends with its patience
        if self.damaged:
            logger.warning("%s: %d damaged packet(s) left out", self.source.name, self.damaged)

    def stop(self) -> None:
        """End the iteration, from any thread or from a signal."""
        self._stop.set()

    def __iter__(self) -> Iterator[LiveFrame]:
        """The frames in order until the source ends or `stop` is called; late ones are left out.

        Raises:
            Exception: What the reading thread did not expect.
        """
        while (frame := self._next()) is not None:
            yield frame
        if self._failure is not None:
            raise self._failure

    def _next(self) -> LiveFrame | None:
        while not self._stop.is_set():
            over = self._over.is_set()  # before looking: what came last is not missed
            with self._changed:
                self._drop_late()
                if self._frames:
                    return self._frames.popleft()
                if over:
                    return None
                self._changed.wait(_LOOK_UP)
        return None

    def _drop_late(self) -> None:
        """Drop frames that have waited too long, but never the newest; the caller holds the lock."""
        oldest = time.monotonic() - LONGEST_WAIT
        while len(self._frames) > 1 and self._frames[0].arrived < oldest:
            self._frames.popleft()
            self.dropped += 1

    def _start(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, name="ecmvae-live", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _cannot(self, why: str) -> str:
        name = self.source.name
        if isinstance(self.source, Camera):
            return f"{name} cannot be opened ({why}): check its number, and that no other program uses it"
        return (
            f"{name} cannot be opened ({why}): check the address, and that something is sent there"
        )

    def _open(self, source: Input, stack: ExitStack) -> InputContainer:
        """Open an input with FFmpeg.

        Raises:
            UserError: If that fails.
        """
        import av

        try:
            container = av.open(
                source.url,
                "r",
                format=source.format,
                container_options=source.options,
                metadata_errors="replace",
                timeout=(self._patience, self._patience),
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(
                self._cannot(self._why(error))
            ) from None  # the cause would show the password
        return stack.enter_context(container)

    def _why(self, error: Exception) -> str:
        import av

        if isinstance(error, av.error.ExitError | av.error.TimeoutError):
            return f"nothing came for {self._patience:g} s"
        if isinstance(error, av.error.InvalidDataError) and isinstance(self.source, Address):
            return "it is neither video nor a stream of it; playlists are not opened"
        return reason(error)

    def _read_picture(self) -> None:
        """The work of the thread that reads the picture, and the sound that comes with it."""
        try:
            with ExitStack() as stack:
                given = (
                    self.source.picture
                    if isinstance(self.source, Camera)
                    else self.source.receiving
                )
                container = self._open(given, stack)
                picture = self._picture_of(container)
                sound = None if isinstance(self.source, Camera) else self._sound_of(container)
                self.ended = self._read(container, picture, sound)
        except UserError as error:
            self._failure = None if self._ready.is_set() else error
            self.ended = str(error)
        except BaseException as error:  # it is raised where the frames are taken
            self._failure = error
        finally:
            self._over.set()
            with self._changed:
                self._changed.notify_all()

    def _read_microphone(self) -> None:
        """The work of the thread that reads the microphone; without one the camera is silent."""
        assert isinstance(self.source, Camera)
        assert self.source.sound is not None
        try:
            with ExitStack() as stack:
                container = self._open(self.source.sound, stack)
                self._read(container, None, self._sound_of(container))
        except UserError as error:
            why = str(error).partition("(")[2].partition(")")[0]
            logger.warning(
                "microphone %r cannot be opened (%s): treated as silence",
                self.source.microphone,
                why,
            )

    def _picture_of(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            raise UserError(f"{self.source.name} has only sound: a stream with a picture is needed")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise UserError(
                f"{self.source.name} has a picture in a codec that this build of PyAV cannot decode"
            )
        stream.thread_type = "SLICE"  # threads that decode frame by frame would each hold one back
        return stream

    def _sound_of(self, container: InputContainer) -> Any:
        tracks = container.streams.audio
        if not tracks:
            return None
        if not 0 <= self._track < len(tracks):
            raise UserError(f"{self.source.name} has {len(tracks)} audio track(s), numbered from 0")
        track = tracks[self._track]
        if track.codec_context is None or not 0 < track.codec_context.sample_rate <= HIGHEST_RATE:
            return None
        self.silent = False
        return track

    def _read(self, container: InputContainer, picture: VideoStream | None, sound: Any) -> str:
        """Read until it ends, it fails or somebody stops it; why it failed, else ""."""
        import av

        hear = _Hearing(self, longest_gap(container)) if sound is not None else None
        see = _Seeing(self, container, picture) if picture is not None else None
        wanted = [stream for stream in (picture, sound) if stream is not None]
        packets = container.demux(wanted)
        while not self._stop.is_set():
            try:
                packet = next(packets, None)
            except IndexError:  # a track that was not there at first: PyAV knows no place for it
                packets = container.demux(wanted)
                continue
            except (av.FFmpegError, OSError, EOFError) as error:
                return self._why(error)
            if packet is None:
                break
            try:
                frames = packet.decode()
            except av.FFmpegError:
                # who joins in the middle misses what came before
                self.damaged += self._ready.is_set()
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame) and see is not None:
                    see(frame)
                elif isinstance(frame, av.AudioFrame) and hear is not None:
                    hear(frame)
        return ""


class _Seeing:
    """Puts decoded frames of a stream on its clock, and hands them over."""

    def __init__(self, stream: LiveStream, container: InputContainer, picture: VideoStream) -> None:
        rate = picture.average_rate or picture.guessed_rate or Fraction(25)
        self._stream, self._container, self._picture = stream, container, picture
        self._fps = rate if 0 < rate <= 1000 else Fraction(25)
        self._clock = PictureClock(float(1 / self._fps), longest_gap(container))
        self._size: tuple[int, int] | None = None
        self._index, self._began = 0, 0.0
        # What knows its length is a file on a server: it comes as fast as it can, and is read as fast as it plays.
        self._paced = isinstance(stream.source, Address) and bool(container.duration)

    def __call__(self, frame: VideoFrame) -> None:
        stream, now = self._stream, time.monotonic()
        if self._size is None:
            self._size, self._began = (frame.width, frame.height), now
            stream._origin = frame.time or 0.0
            stream.info = self._info(frame)
        elif self._size != (frame.width, frame.height):
            frame = frame.reformat(width=self._size[0], height=self._size[1])
        moment = self._clock(frame.time)
        if self._paced and (ahead := self._began + moment - now) > 0:
            stream._stop.wait(ahead)
            now = time.monotonic()
        with stream._changed:
            shown = SourceFrame(self._index, moment, float(1 / self._fps), frame)
            stream._frames.append(LiveFrame(shown, now))
            stream._drop_late()
            stream._changed.notify()
        self._index += 1
        stream._ready.set()

    def _info(self, frame: VideoFrame) -> VideoInfo:
        turns = quarter_turns(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        aspect = self._picture.sample_aspect_ratio or Fraction(1)
        return VideoInfo(
            path=Path(self._stream.source.label),
            width=width,
            height=height,
            rotation=turns,
            fps=self._fps,
            duration=None,
            frame_count=None,
            codec=self._picture.codec_context.codec.canonical_name,
            sample_aspect=1 / aspect if turns % 2 else aspect,
            start=frame.time or 0.0,
            audio_tracks=tuple(audio_track_of(track) for track in self._container.streams.audio),
        )


class _Hearing:
    """Puts decoded sound on the picture's clock: what the model hears, and what is written."""

    def __init__(self, stream: LiveStream, pause: float) -> None:
        self._stream, self._pause = stream, pause
        self._early: deque[AudioFrame] = deque(maxlen=_EARLY)
        self._heard: SoundBlocks | None = None
        self._written: SoundBlocks | None = None

    def __call__(self, frame: AudioFrame) -> None:
        stream = self._stream
        self._early.append(frame)
        if stream._origin is None:  # the first picture says where the sound belongs
            return
        if self._heard is None:
            rate = stream.sound.sample_rate
            self._heard = SoundBlocks(stream._origin, rate, channels=1, pause=self._pause)
            if stream._record is not None:
                self._written = SoundBlocks(
                    stream._origin, SOUND_RATE, channels=SOUND_CHANNELS, pause=self._pause
                )
        while self._early:
            frame = self._early.popleft()
            for position, samples in self._heard.add(frame):
                stream.sound.add(position, samples)
            if self._written is not None and stream._record is not None:
                for position, samples in self._written.add(frame):
                    stream._record.add(position, samples)
