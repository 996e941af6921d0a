"""The sound of a video on the picture's clock, decoded as far as it is asked for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.container import audio_stream, decoded, longest_gap, open_container, probe
from ecmvae.files import show_path

if TYPE_CHECKING:
    from av import AudioFrame
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
                self._blocks = decoded_sound(container, stream, start, sample_rate, channels=1, warn=warn)
            self._stack = stack.pop_all()
        self._kept: deque[SoundBlock] = deque()
        self._decoded = -(2**62)  # end of what is decoded
        self._dropped = -(2**62)  # samples before this are gone

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples `start` to `stop`, (stop - start,) float32 in [-1, 1]; 0 is the moment of the first picture.

        `start` may be negative: silence, or sound before the picture.

        Raises:
            ValueError: If `start` lies before that of the last call.
        """
        if start < self._dropped:
            raise ValueError(f"sound is read forward only: {start} lies before {self._dropped}")
        self._dropped = start
        while self._decoded < stop and (block := next(self._blocks, None)) is not None:
            self._kept.append(block)
            self._decoded = block[0] + block[1].shape[1]
        while self._kept and self._kept[0][0] + self._kept[0][1].shape[1] <= start:
            self._kept.popleft()
        sound = np.zeros(stop - start, np.float32)
        for position, samples in self._kept:
            first, last = max(position, start), min(position + samples.shape[1], stop)
            if first < last:
                sound[first - start : last - start] = samples[0, first - position : last - position]
        return sound

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def decoded_sound(
    container: InputContainer, stream: AudioStream, origin: float, sample_rate: int, *, channels: int, warn: bool
) -> Iterator[SoundBlock]:
    """Decode a track block by block onto the picture's clock, as the average of all channels (1) or stereo (2).

    `origin` is the time of the first picture in the file's clock, in seconds.

    Yields:
        Positions (rising, in samples from the first picture; holes are left out) and (channels, S) float32.
    """
    import av

    resampler: av.AudioResampler | None = None
    source: tuple[int, int] | None = None  # rate and channels of the running resampler
    position = 0  # where its next sample goes
    expected = 0.0  # time at which the next decoded frame should start, on the picture's clock
    offset = -origin
    pause = longest_gap(container)

    def resampled(frame: AudioFrame | None) -> Iterator[SoundBlock]:
        """The blocks that come of a frame, or, with None, of what the running resampler has kept."""
        nonlocal position
        for part in resampler.resample(frame) if resampler else ():
            if part.samples:
                block = part.to_ndarray().astype(np.float32, copy=False)
                yield position, block
                position += block.shape[1]

    for packet in decoded(container, stream, warn=warn):
        for frame in packet:
            if frame.samples == 0 or not 0 < frame.sample_rate <= HIGHEST_RATE:
                continue
            time = expected if frame.time is None else frame.time + offset
            if source is not None and not expected - _JITTER <= time <= expected + pause:
                offset += expected - time  # the file's clock jumps: go on where we are
                time = expected
            now = (frame.sample_rate, frame.layout.nb_channels)
            if resampler is None or now != source or time > expected + _JITTER:
                yield from resampled(None)
                resampler = av.AudioResampler("fltp", _LAYOUTS[channels], sample_rate)
                source, position = now, round(time * sample_rate)
            expected = time + frame.samples / frame.sample_rate
            frame = _average(frame) if channels == 1 else frame
            frame.pts = None
            yield from resampled(frame)
    yield from resampled(None)


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
    result = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono[None], np.float32), format="fltp", layout="mono")
    result.sample_rate = frame.sample_rate
    return result
