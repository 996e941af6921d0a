"""The sound of a video that is being written: encoded from a waveform, copied from a file, or encoded again.

A soundtrack is fed along with the picture (`advance`), so that the muxer never has to hold back more than a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.container import (
    VideoInfo,
    audio_stream,
    demuxed,
    longest_gap,
    open_container,
    probe,
)
from ecmvae.data.video.sound import HIGHEST_RATE, SAMPLE_RATE, SoundBlock, decoded_sound
from ecmvae.files import show_path

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

logger = logging.getLogger(__name__)

# Codecs that every player accepts inside the container; others are encoded again.
_HOLDS = {"mp4": {"aac", "mp3", "ac3", "eac3", "alac"}, "webm": {"opus", "vorbis"}}
_ENCODER = {"mp4": "aac", "webm": "libopus"}
_RATES = {  # Hz that the encoder takes, best first
    "mp4": (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 96000, 88200, 64000),
    "webm": (48000, 24000, 16000, 12000, 8000),
}
_BLOCK = 1024  # samples handed to the encoder at a time
_LEAD_IN = (
    0.05  # seconds before the first picture whose packets are kept: an encoder's priming must stay
)
_LAYOUTS = {1: "mono", 2: "stereo"}


def waveform_soundtrack(
    output: OutputContainer, waveform: NDArray[np.float32], sample_rate: int
) -> EncodedSound:
    """Sound from an array, (S,) or (C, S) float in [-1, 1] at `sample_rate` Hz.

    Raises:
        ValueError: If the array is not one or two channels of floats, or no encoder takes its rate.
    """
    channels = np.atleast_2d(waveform)
    if channels.ndim != 2 or channels.shape[0] not in _LAYOUTS or channels.dtype.kind != "f":
        raise ValueError(
            f"a waveform is float (S,), (1, S) or (2, S), got {waveform.dtype} {waveform.shape}"
        )
    if sample_rate not in _RATES[_family(output)]:
        raise ValueError(
            f"no sound at {sample_rate} Hz in this container: resample to 16000, 24000 or 48000 Hz"
        )
    blocks = ((at, channels[:, at : at + _BLOCK]) for at in range(0, channels.shape[1], _BLOCK))
    return EncodedSound(output, blocks, sample_rate, channels.shape[0])


def soundtrack_of(
    output: OutputContainer, source: Path | VideoInfo, track: int, stack: ExitStack
) -> EncodedSound | CopiedSound | None:
    """Track `track` of a video file, or None when the file has no sound; `stack` keeps the file open."""
    path = source.path if isinstance(source, VideoInfo) else source
    container = stack.enter_context(open_container(path))
    stream = audio_stream(container, track, path)
    if stream is None:
        return None
    origin = source.start if isinstance(source, VideoInfo) else probe(path).start
    family = _family(output)
    codec = stream.codec_context.codec.canonical_name
    sound = (
        0 < stream.codec_context.sample_rate <= HIGHEST_RATE and stream.codec_context.channels > 0
    )
    # no muxer takes a track whose damaged header says otherwise
    if codec in _HOLDS[family] and sound:
        return CopiedSound(output, container, stream, origin)
    encoder = _ENCODER[family].removeprefix("lib")
    logger.warning(
        "%s: %s cannot hold its %s sound: encoded again as %s",
        show_path(path),
        family,
        codec,
        encoder,
    )
    rates = _RATES[family]
    rate = (
        stream.codec_context.sample_rate if stream.codec_context.sample_rate in rates else rates[0]
    )
    channels = min(max(stream.codec_context.channels, 1), 2)  # a damaged header may say none
    blocks = decoded_sound(container, stream, origin, rate, channels=channels, warn=False)
    return EncodedSound(output, blocks, rate, channels)


class EncodedSound:
    """Sound from blocks of samples; gaps between the blocks are silence."""

    def __init__(
        self, output: OutputContainer, blocks: Iterator[SoundBlock], sample_rate: int, channels: int
    ) -> None:
        self._output, self._blocks, self._rate, self._channels = (
            output,
            blocks,
            sample_rate,
            channels,
        )
        encoder = _ENCODER[_family(output)]
        self._stream = cast(
            "AudioStream", output.add_stream(encoder, rate=sample_rate, layout=_LAYOUTS[channels])
        )
        self._stream.codec_context.bit_rate = 96_000 * channels
        self._stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
        self._written = 0

    def advance(self, until: float) -> None:
        """Write the sound before `until` seconds."""
        while (
            self._written < until * self._rate and (block := next(self._blocks, None)) is not None
        ):
            self._append(*block)

    def finish(self, end: float) -> None:
        """Write what is left; `end` is where the picture ends, in seconds."""
        stop = round(end * self._rate)
        while self._written < stop and (block := next(self._blocks, None)) is not None:
            position, samples = block
            self._append(position, samples[:, : max(stop - position, 0)])
        self._output.mux(self._stream.encode(None))

    def _append(self, position: int, samples: NDArray[np.floating]) -> None:
        # what overlaps the sound so far, or lies before the first picture
        if position < self._written:
            samples = samples[:, self._written - position :]
        while position > self._written and samples.size:
            self._encode(
                np.zeros((self._channels, min(_BLOCK, position - self._written)), np.float32)
            )
        for at in range(0, samples.shape[1], _BLOCK):
            self._encode(samples[:, at : at + _BLOCK])

    def _encode(self, samples: NDArray[np.floating]) -> None:
        import av

        clipped = np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(clipped, format="fltp", layout=_LAYOUTS[self._channels])
        frame.sample_rate = self._rate
        frame.pts = self._written
        self._written += clipped.shape[1]
        self._output.mux(self._stream.encode(frame))


class CopiedSound:
    """The packets of another file's track, moved so that its first picture is at zero; damaged ones are left out."""

    def __init__(
        self, output: OutputContainer, source: InputContainer, stream: AudioStream, origin: float
    ) -> None:
        self._output, self._name = output, source.name
        self._stream = output.add_stream_from_template(stream)
        self._packets = self._moved(source, stream, origin)
        self._waiting: Packet[AudioStream] | None = None
        self._damaged = 0

    def advance(self, until: float) -> None:
        """Write the packets that begin before `until` seconds."""
        import av

        while (packet := self._waiting or next(self._packets, None)) is not None:
            if float(packet.dts * packet.time_base) >= until:  # type: ignore[operator]  # _moved sets dts
                self._waiting = packet
                return
            self._waiting = None
            packet.stream = self._stream
            try:
                self._output.mux(packet)
            except av.InvalidDataError:  # MP4 wants a header that was overwritten here
                self._damaged += 1

    def finish(self, end: float) -> None:
        """Write what is left: the track is kept whole, also where it outlasts the picture."""
        self.advance(float("inf"))
        if self._damaged:
            name = show_path(Path(self._name))
            logger.warning("%s: %d damaged packet(s) of the sound not copied", name, self._damaged)

    @staticmethod
    def _moved(
        source: InputContainer, stream: AudioStream, origin: float
    ) -> Iterator[Packet[AudioStream]]:
        unit = float(stream.time_base or 0) or 1 / SAMPLE_RATE
        offset = -round(origin / unit)
        pause = round(longest_gap(source) / unit)
        last: int | None = None  # where the packet before begins, and ends:
        expected = 0
        # the warning was logged when the track was decoded
        for packet in demuxed(source, stream, warn=False):
            if packet.dts is None or packet.size == 0:
                continue
            length = packet.duration or 1
            pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
            if offset and (pts + offset + length) * unit < -_LEAD_IN:
                continue
            if last is not None and not last < packet.dts + offset <= expected + pause:
                # the file's clock jumps or stands still: go on where we are
                offset = expected - packet.dts
            packet.pts, packet.dts = pts + offset, packet.dts + offset
            last, expected = packet.dts, packet.dts + length
            yield packet


def _family(output: OutputContainer) -> str:
    return "webm" if "webm" in output.format.name else "mp4"
