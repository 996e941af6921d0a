"""The sound of a video on the picture's clock, decoded as far as it is asked for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from ecmvae.data.video.container import audio_stream, decoded, longest_gap, open_container, probe
from ecmvae.files import show_path

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hz of sound unless another rate is asked for: what VGGish was trained on."""

SoundBlock = tuple[int, NDArray[np.floating]]
"""Index of the first sample, counted from the first picture, and (C, S) samples in [-1, 1]."""

HIGHEST_RATE = 768_000
"""Hz of the fastest sound that is read: FFmpeg's resampler takes memory in proportion, and a damaged header can say
2 GHz."""

_JITTER = 0.06  # seconds: container timestamps are this coarse; only a larger step is a true gap
_BEFORE_ALL = -(2**62)  # samples
_LAYOUTS = {1: "mono", 2: "stereo"}


@runtime_checkable
class Sound(Protocol):
    """Mono sound of which any stretch of time can be read."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples `start` to `stop`, counted from the first picture; silence where there is no sound."""


class SoundArray:
    """Sound that is in memory: (S,) float32, starting with the first picture."""

    def __init__(self, waveform: NDArray[np.float32], sample_rate: int = SAMPLE_RATE) -> None:
        self._waveform, self.sample_rate = waveform, sample_rate

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples `start` to `stop`; silence before the first and after the last."""
        sound = self._waveform[max(start, 0) : max(stop, 0)]
        before = min(max(-start, 0), stop - start)
        return np.pad(sound, (before, stop - start - before - len(sound)))


class SoundReader:
    """Mono sound of a video, read forward, silent wherever the file has none.

    Channels are averaged, as in VGGish's own front end. Sound that starts late, ends early or has holes keeps its place
    in time. Only what lies between the last two positions asked for is in memory.

    Args:
        path: Video file.
        sample_rate: Hz of what is read.
        track: Audio track, from 0.
        origin: Time of the first picture in the file's clock; None = look it up.
        warn: Log a line when the file has no sound, or a damaged one.

    Raises:
        UserError: If the file cannot be read or has no such track.
    """

    def __init__(
        self,
        path: Path,
        *,
        sample_rate: int = SAMPLE_RATE,
        track: int = 0,
        origin: float | None = None,
        warn: bool = True,
    ) -> None:
        self.sample_rate = sample_rate
        with ExitStack() as stack:
            container = stack.enter_context(open_container(path))
            stream = audio_stream(container, track, path)
            rate = 0 if stream is None else stream.codec_context.sample_rate
            self.silent = stream is None or rate > HIGHEST_RATE
            """True when the file has no sound, or none that can be decoded."""
            if stream is None or self.silent:
                if warn:
                    what = "sound in an unknown codec" if container.streams.audio else "no sound"
                    what = f"sound at {rate} Hz" if rate else what
                    logger.warning("%s has %s: treated as silence", show_path(path), what)
                self._blocks: Iterator[SoundBlock] = iter(())
            else:
                start = probe(path).start if origin is None else origin
                self._blocks = decoded_sound(
                    container, stream, start, sample_rate, channels=1, warn=warn
                )
            self._stack = stack.pop_all()
        self._kept: deque[SoundBlock] = deque()
        self._decoded = _BEFORE_ALL  # end of what is decoded
        self._positions = {0: _BEFORE_ALL}  # of each reader: what all have passed is dropped

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples `start` to `stop`, (stop - start,) float32 in [-1, 1]; 0 is the moment of the first picture.

        `start` may be negative: silence, or sound before the picture.

        Raises:
            ValueError: If `start` lies before that of the last call.
        """
        return self._read(0, start, stop)

    def follower(self) -> SoundFollower:
        """A second reader of the same decoded sound, with a position of its own; the sound between both is kept."""
        number = len(self._positions)
        self._positions[number] = _BEFORE_ALL
        return SoundFollower(self.sample_rate, partial(self._read, number))

    def _read(self, reader: int, start: int, stop: int) -> NDArray[np.float32]:
        if start < self._positions[reader]:
            before = self._positions[reader]
            raise ValueError(f"sound is read forward only: {start} lies before {before}")
        self._positions[reader] = start
        while self._decoded < stop and (block := next(self._blocks, None)) is not None:
            self._kept.append(block)
            self._decoded = _end(block)
        passed = min(self._positions.values())
        while self._kept and _end(self._kept[0]) <= passed:
            self._kept.popleft()
        return _put_together(self._kept, start, stop)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SoundFollower:
    """A further reader of a `SoundReader`'s sound, made by `SoundReader.follower`; reads forward, too."""

    def __init__(self, sample_rate: int, read: Callable[[int, int], NDArray[np.float32]]) -> None:
        self.sample_rate, self._read = sample_rate, read

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `SoundReader.read`."""
        return self._read(start, stop)


class SoundBlocks:
    """Decoded sound, frame by frame, as blocks on the picture's clock.

    Args:
        origin: Time of the first picture in the source's clock, in seconds.
        sample_rate: Hz of the blocks.
        channels: 1 = the average of all channels, 2 = stereo.
        pause: Seconds by which the source's clock may run ahead; more is a jump, and what follows goes on behind.
    """

    def __init__(self, origin: float, sample_rate: int, *, channels: int, pause: float) -> None:
        self._rate, self._channels, self._pause = sample_rate, channels, pause
        self._offset = -origin
        self._resampler: AudioResampler | None = None
        self._source: tuple[int, int] | None = None  # rate and channels of the running resampler
        self._position = 0  # where its next sample goes
        self._expected = (
            0.0  # time at which the next decoded frame should start, on the picture's clock
        )

    def add(self, frame: AudioFrame) -> Iterator[SoundBlock]:
        """The blocks that come of a decoded frame; positions rise, holes are left out."""
        import av

        if frame.samples == 0 or not 0 < frame.sample_rate <= HIGHEST_RATE:
            return
        time = self._expected if frame.time is None else frame.time + self._offset
        if (
            self._source is not None
            and not self._expected - _JITTER <= time <= self._expected + self._pause
        ):
            self._offset += self._expected - time  # the source's clock jumps: go on where we are
            time = self._expected
        now = (frame.sample_rate, frame.layout.nb_channels)
        if self._resampler is None or now != self._source or time > self._expected + _JITTER:
            yield from self._resampled(None)
            self._resampler = av.AudioResampler("fltp", _LAYOUTS[self._channels], self._rate)
            self._source, self._position = now, round(time * self._rate)
        self._expected = time + frame.samples / frame.sample_rate
        frame = _average(frame) if self._channels == 1 else frame
        frame.pts = None
        yield from self._resampled(frame)

    def finish(self) -> Iterator[SoundBlock]:
        """The blocks that the resampler has kept."""
        return self._resampled(None)

    def _resampled(self, frame: AudioFrame | None) -> Iterator[SoundBlock]:
        for part in self._resampler.resample(frame) if self._resampler else ():
            if part.samples:
                block = part.to_ndarray().astype(np.float32, copy=False)
                yield self._position, block
                self._position += block.shape[1]


def resample_array(
    waveform: Float[np.ndarray, " s"], rate: int, new_rate: int
) -> Float32[np.ndarray, " k"]:
    """A sound at another rate, resampled as a video's own sound is, by FFmpeg and without PyTorch."""
    import av

    samples = np.ascontiguousarray(waveform, dtype=np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler("fltp", "mono", new_rate)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    resampled: np.ndarray = np.concatenate([part.to_ndarray()[0] for part in parts])
    return resampled


def decoded_sound(
    container: InputContainer,
    stream: AudioStream,
    origin: float,
    sample_rate: int,
    *,
    channels: int,
    warn: bool,
) -> Iterator[SoundBlock]:
    """Decode a track block by block onto the picture's clock, as the average of all channels (1) or stereo (2).

    `origin` is the time of the first picture in the file's clock, in seconds.

    Yields:
        Positions (rising, in samples from the first picture; holes are left out) and (channels, S) float32.
    """
    blocks = SoundBlocks(origin, sample_rate, channels=channels, pause=longest_gap(container))
    for packet in decoded(container, stream, warn=warn):
        for frame in packet:
            yield from blocks.add(frame)
    yield from blocks.finish()


class RecentSound:
    """The last seconds of a mono sound that still comes in; one thread adds to it while others read.

    Args:
        sample_rate: In Hz.
        seconds: How much is kept.
    """

    def __init__(self, sample_rate: int, seconds: float) -> None:
        self.sample_rate, self._most = sample_rate, round(seconds * sample_rate)
        self._blocks: deque[SoundBlock] = deque()
        self._lock = Lock()
        self.end = 0
        """Where the sound ends so far, in samples from the first picture."""

    def add(self, position: int, samples: NDArray[np.floating]) -> None:
        """Append a block (1, S) that begins at `position`."""
        with self._lock:
            self._blocks.append((position, samples))
            self.end = position + samples.shape[1]
            while self._blocks and _end(self._blocks[0]) <= self.end - self._most:
                self._blocks.popleft()

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples `start` to `stop`; silence where there is no sound, none yet, or it is not kept any more."""
        with self._lock:
            return _put_together(self._blocks, start, stop)


def _end(block: SoundBlock) -> int:
    return block[0] + int(block[1].shape[1])


def _put_together(blocks: Iterable[SoundBlock], start: int, stop: int) -> NDArray[np.float32]:
    """Samples `start` to `stop` of mono blocks in order; silence between them."""
    sound = np.zeros(stop - start, np.float32)
    for position, samples in blocks:
        if position >= stop:
            break
        first, last = max(position, start), min(position + samples.shape[1], stop)
        if first < last:
            sound[first - start : last - start] = samples[0, first - position : last - position]
    return sound


def _average(frame: AudioFrame) -> AudioFrame:
    """The mean of the channels as a mono float frame.

    FFmpeg's own downmix weighs channels by 0.7 and would make stereo 3 dB louder than the training data.
    """
    import av

    samples = frame.to_ndarray()
    if not frame.format.is_planar:  # (1, S*C) interleaved
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    mono = samples.astype(np.float32).mean(axis=0)
    if samples.dtype == np.uint8:
        mono = (mono - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        mono = mono / float(2 ** (8 * samples.dtype.itemsize - 1))
    result = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(mono[None], np.float32), format="fltp", layout="mono"
    )
    result.sample_rate = frame.sample_rate
    return result
