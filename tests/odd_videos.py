"""Videos as people have them: any pixel format, clock, rotation and sound, built without our writer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


@dataclass
class Track:
    """One audio track: (C, S) float32 at `rate`, starting at `start` seconds."""

    samples: NDArray[np.float32]
    rate: int = 48_000
    layout: str = "mono"
    codec: str = "pcm_s16le"
    start: float = 0.0
    language: str | None = None


@dataclass
class OddVideo:
    """What to write; the defaults are an ordinary silent Matroska file of 24 frames a second."""

    frames: Iterable[NDArray[np.uint8]]
    rate: Fraction = Fraction(24)
    times: Sequence[float] | None = None
    pixel_format: str = "yuv420p"
    codec: str = "libx264"
    options: dict[str, str] = field(
        default_factory=lambda: {"preset": "ultrafast", "crf": "10", "threads": "1"}
    )
    rotation: int | None = None
    start: float = 0.0
    tracks: Sequence[Track] = ()

    def write(self, path: Path) -> Path:
        """Write the file; the container follows from the suffix."""
        frames = list(self.frames)
        with av.open(str(path), "w") as container:
            picture = container.add_stream(self.codec, rate=self.rate, options=self.options)
            picture.width, picture.height = frames[0].shape[1], frames[0].shape[0]
            picture.pix_fmt = self.pixel_format
            # AVI counts frames
            clock = 1 / self.rate if path.suffix == ".avi" else Fraction(1, 90_000)
            picture.codec_context.time_base = clock
            if self.rotation is not None:
                picture.set_display_rotation(self.rotation)
            sounds = []
            for track in self.tracks:
                sound = container.add_stream(track.codec, rate=track.rate, layout=track.layout)
                if track.language:
                    sound.metadata["language"] = track.language
                sounds.append(sound)
            for index, pixels in enumerate(frames):
                time = index / float(self.rate) if self.times is None else self.times[index]
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format=self.pixel_format
                )
                frame.pts, frame.time_base = round((time + self.start) / float(clock)), clock
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
            for track, sound in zip(self.tracks, sounds, strict=True):
                for at in range(0, track.samples.shape[1], 1024):
                    frame = _audio_frame(track, sound.codec_context.format.name, at)
                    container.mux(sound.encode(frame))
                container.mux(sound.encode(None))
        return path


def _audio_frame(track: Track, sample_format: str, at: int) -> av.AudioFrame:
    block = track.samples[:, at : at + 1024]
    channels = block.shape[0]
    if sample_format.startswith("s16"):
        block = np.round(block * 32767).astype(np.int16)
    elif sample_format.startswith("s32"):
        block = np.round(block * float(2**31 - 256)).astype(np.int32)
    elif sample_format.startswith("u8"):
        block = np.round(block * 127 + 128).astype(np.uint8)
    if not sample_format.endswith("p"):
        block = block.T.reshape(1, -1)
    assert block.shape[0] in (1, channels)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(block), format=sample_format, layout=track.layout
    )
    frame.sample_rate = track.rate
    frame.time_base = Fraction(1, track.rate)
    frame.pts = at + round(track.start * track.rate)
    return frame
