"""Small media files of every common container, and what a disk, a download or an enemy may do to their bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

WIDTH, HEIGHT, RATE = 64, 48, 8
"""Of the pictures, in pixels and in frames a second."""


@dataclass(frozen=True)
class Media:
    """What to write; the container follows from the suffix of the file.

    Attributes:
        video: Codec of the picture; none without it.
        audio: Codec of the sound; none without it.
        pixels: Pixel format.
        frames: Number of frames.
        rate: Frames a second, as the header says.
        size: Width and height.
        clock: Duration of the picture's time unit, in seconds.
        times: Moment of each frame in time units; equal steps at that rate without it.
        audio_rate: In Hz.
        options: Of the picture's encoder.
    """

    video: str = ""
    audio: str = ""
    pixels: str = "yuv420p"
    frames: int = 6
    rate: int = RATE
    size: tuple[int, int] = (WIDTH, HEIGHT)
    clock: Fraction = Fraction(1, RATE)
    times: tuple[int, ...] = ()
    audio_rate: int = 48_000
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        times = (
            f", times {self.times[:6]}{'...' if len(self.times) > 6 else ''}" if self.times else ""
        )
        shape = f"{self.frames} of {self.size[0]}x{self.size[1]}, {self.rate} a second, clock {self.clock}{times}"
        return f"{self.video} {shape}; {self.audio or 'no sound'} {self.audio_rate} Hz"

    def write(self, path: Path) -> bytes:
        """Write the file and return its bytes, which are the same each time."""
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
            pictures = (
                container.add_stream(self.video, rate=self.rate, options=dict(self.options))
                if self.video
                else None
            )
            sound = (
                container.add_stream(self.audio, rate=self.audio_rate, layout="mono")
                if self.audio
                else None
            )
            for stream in filter(None, (pictures, sound)):
                stream.codec_context.thread_count = 1
                stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
            if pictures is not None:
                pictures.width, pictures.height = self.size
                pictures.pix_fmt = self.pixels
                pictures.codec_context.time_base = self.clock
            container.start_encoding()
            if pictures is not None:
                self._write_pictures(container, pictures)
            if sound is not None:
                self._write_sound(container, sound)
        return path.read_bytes()

    def _write_pictures(self, container: OutputContainer, stream: VideoStream) -> None:
        choices = np.random.default_rng(self.frames)
        for number in range(self.frames):
            pixels = np.full((self.size[1], self.size[0], 3), 40, np.uint8)
            left = int(choices.integers(0, max(self.size[0] - 20, 1)))
            pixels[: max(self.size[1] // 2, 1), left : left + 20] = choices.integers(0, 256, 3)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=self.pixels)
            frame.pts = self.times[number] if self.times else round(number / self.rate / self.clock)
            frame.time_base = self.clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    def _write_sound(self, container: OutputContainer, stream: AudioStream) -> None:
        form = stream.codec_context.format.name
        scale, kind = (1.0, np.float32) if form.startswith("flt") else (32767.0, np.int16)
        wave = (
            np.sin(
                np.arange(min(self.audio_rate * 6 // 10, 28_800))
                * 2
                * np.pi
                * 440
                / self.audio_rate
            )
            * 0.5
            * scale
        )
        for at in range(0, len(wave), 960):
            frame = av.AudioFrame.from_ndarray(wave[None, at : at + 960].astype(kind), form, "mono")
            frame.sample_rate, frame.pts = self.audio_rate, at
            frame.time_base = Fraction(1, self.audio_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


_X264 = {"preset": "ultrafast", "crf": "20", "x264-params": "sliced-threads=0"}
SEEDS: Mapping[str, Media] = {
    "h264.mp4": Media("libx264", "aac", options=_X264),
    "mpeg4.mp4": Media("mpeg4", "aac"),
    "vp8.webm": Media("libvpx", "libopus"),
    "h264.mkv": Media("libx264", "libopus", options=_X264),
    "ffv1.mkv": Media("ffv1", "flac"),
    "mjpeg.avi": Media("mjpeg", "pcm_s16le", pixels="yuvj420p"),
    "huffyuv.avi": Media("huffyuv", "pcm_s16le", pixels="yuv422p"),
    "mpeg4.nut": Media("mpeg4", "pcm_s16le"),
    "png.mov": Media("png", "pcm_s16le", pixels="rgb24"),
    "h264.mov": Media("libx264", "aac", options=_X264),
    "gif.gif": Media("gif", pixels="rgb8", clock=Fraction(1, 100)),
    "mpeg2.ts": Media("mpeg2video", "mp2", clock=Fraction(1, 25)),
    "flv1.flv": Media("flv1", "pcm_s16le", audio_rate=44_100),
    "mpeg1.mpg": Media("mpeg1video", "mp2", clock=Fraction(1, 25)),
    "sound.wav": Media(audio="pcm_s16le"),
    "sound.ogg": Media(audio="libopus"),
    "sound.m4a": Media(audio="aac"),
    "picture.png": Media("png", pixels="rgb24", frames=1),
    "picture.jpg": Media("mjpeg", pixels="yuvj420p", frames=1),
}
"""Name of each sound file -> what is in it."""


def flipped(data: bytes, rng: random.Random) -> bytes:
    """A few bits turned over."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 4, 16, 64))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The beginning, or the end."""
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.7 else data[at:]


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two blocks in each other's place, or one twice, or one left out."""
    size = rng.choice((16, 64, 512))
    first, second = sorted(rng.randrange(len(data)) for _ in range(2))
    left, between, right = (
        data[first : first + size],
        data[first + size : second],
        data[second : second + size],
    )
    middle = rng.choice((right + between + left, left + left + between + right, between + right))
    return data[:first] + middle + data[second + size :]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    """A stretch of the header, or of what follows, of zeros or ones."""
    at = rng.choice((0, 4, 32, rng.randrange(len(data))))
    size = rng.choice((4, 16, 128, 1024))
    return data[:at] + rng.choice((b"\0", b"\xff")) * len(data[at : at + size]) + data[at + size :]


_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    2**64 - 1,
)


def fielded(data: bytes, rng: random.Random) -> bytes:
    """Extreme numbers in place of a few fields of the header (at the end, too: where MP4 and MOV keep it)."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((1, 2, 4, 4, 8))
        near = rng.randrange(min(len(data), 1024))
        at = near if rng.random() < 0.5 else max(len(data) - 1 - near, 0)
        value = rng.choice(_EXTREMES) & (2 ** (8 * width) - 1)
        found[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
    return bytes(found)


def lying(data: bytes, rng: random.Random) -> bytes:
    """Huge or empty widths, heights, rates and counts wherever the true ones are written down."""
    values = (WIDTH, HEIGHT, RATE, 6, 48_000, 44_100, 1_000, 16 * WIDTH, 90_000)
    forms = (">H", "<H", ">I", "<I")
    places = []
    for value in values:
        for form in forms:
            if value >= 2 ** (8 * struct.calcsize(form)):
                continue
            word, at = struct.pack(form, value), -1
            while (at := data.find(word, at + 1)) >= 0:
                places.append((at, form))
    found = bytearray(data)
    for at, form in rng.sample(places, min(len(places), rng.choice((1, 2, 6)))):
        size = struct.calcsize(form)
        value = rng.choice((0, 1, 16_384, 65_535, 2**31 - 1, 2**32 - 1)) & (2 ** (8 * size) - 1)
        struct.pack_into(form, found, at, value)
    return bytes(found)


def joined(data: bytes, rng: random.Random) -> bytes:
    """The file twice, once cut, or with noise in the middle."""
    at = rng.randrange(len(data))
    return rng.choice((data + data, data[:at] + data, data[:at] + rng.randbytes(200) + data[at:]))


MUTATIONS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "bit flips": flipped,
    "cut": cut,
    "swapped blocks": swapped,
    "zeroed stretch": zeroed,
    "header fields": fielded,
    "lying sizes": lying,
    "joined": joined,
}
"""What is done to the bytes of a sound file."""


def odd(rng: random.Random) -> tuple[str, str, Media]:
    """A file that is well formed but odd: its kind, its suffix, and what is in it."""
    kind = rng.choice(("odd clock", "odd rate", "no frames", "burst", "odd size"))
    suffix = rng.choice((".mkv", ".mp4", ".mov", ".nut"))
    codec = {"video": "mjpeg", "audio": rng.choice(("", "aac")), "pixels": "yuvj420p"}
    if kind == "odd clock":
        clock = rng.choice((Fraction(1, 1000), Fraction(1, 90_000), Fraction(1, 7)))
        steps = (0, 1, 3, round(1 / clock), round(2 / clock), round(0.04 / clock) + 1)
        times = [0]
        for _ in range(5):
            times.append(times[-1] + 1 + rng.choice(steps))
        first = rng.choice((0, 0, 10**6, -50))
        return (
            kind,
            suffix,
            Media(**codec, clock=clock, times=tuple(first + time for time in times)),
        )
    if kind == "odd rate":
        return (
            kind,
            ".mkv",
            Media(
                "mpeg4", "pcm_s16le", audio_rate=rng.choice((1, 7, 100, 44_101, 999_983, 2**31 - 1))
            ),
        )
    if kind == "no frames":
        return kind, suffix, Media(**codec, frames=0)
    if kind == "burst":
        step = rng.choice((1, 1, 2))
        times = tuple(step * number for number in range(1000))
        clock, rate = Fraction(1, 10_000), 10_000 // step
        return (
            kind,
            suffix,
            Media(**codec, frames=1000, rate=rate, size=(16, 16), clock=clock, times=times),
        )
    size = rng.choice(((1, 1), (2, 2), (1, 3000), (3000, 1), (16, 4096), (4096, 16), (17, 33)))
    return kind, rng.choice((".mov", ".nut")), Media("png", size=size, pixels="rgb24")
