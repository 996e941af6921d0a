"""Clips: the frames of a stretch of video together with their sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.container import probe
from ecmvae.data.video.frames import SourceFrame, stream_frames
from ecmvae.data.video.sound import SAMPLE_RATE, SoundReader
from ecmvae.errors import UserError
from ecmvae.files import show_path


@dataclass(frozen=True, kw_only=True)
class RawClip:
    """Frames and sound of a stretch of video, before any preprocessing.

    Attributes:
        frames: (T, H0, W0, 3) uint8 RGB, upright.
        timestamps: (T,) float64, seconds from the start of the video, rising.
        waveform: (S,) float32 in [-1, 1], mono, 16 kHz, from the start of the stretch.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    waveform: NDArray[np.float32]


def read_clip(
    path: str | Path,
    *,
    fps: float | None = None,
    start: float = 0.0,
    duration: float | None = None,
    audio_track: int = 0,
) -> RawClip:
    """Read a stretch of a video into memory.

    Args:
        path: Video file.
        fps: None = every frame with its own timestamp. A number = the frames shown at `start + (k + 0.5) / fps`,
            the middles of equal steps; 1 gives AVS-Collage's annotated frames.
        start: Seconds from the start of the video.
        duration: Seconds to read, None = to the end.
        audio_track: Which audio track, from 0.

    Raises:
        UserError: If the file cannot be read, or the video ends before `start`.
    """
    path = Path(path)
    info = probe(path)
    stop = math.inf if duration is None else start + duration
    frames = stream_frames(path)
    every = ((frame.time, frame) for frame in frames if frame.time >= start)
    timed = every if fps is None else frames_at_rate(frames, fps, start)
    with SoundReader(path, track=audio_track, origin=info.start) as sound:
        pixels, times, end = [], [], start
        for time, frame in takewhile(lambda each: each[0] < stop, timed):
            pixels.append(frame.rgb())
            times.append(time)
            end = min(time + (frame.duration if fps is None else 0.5 / fps), stop)
        if not pixels:
            raise UserError(f"{show_path(path)} has no frame between {start:g} s and {stop:g} s")
        waveform = sound.read(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
    return RawClip(
        frames=np.stack(pixels), timestamps=np.asarray(times, np.float64), waveform=waveform
    )


def frames_at_rate(
    frames: Iterator[SourceFrame], fps: float, start: float = 0.0
) -> Iterator[tuple[float, SourceFrame]]:
    """What is on the screen at `start + (k + 0.5) / fps`, k = 0, 1, 2 ...

    A frame stays on the screen until the next one, the last one for its own duration. A video shorter than half a
    step gives its first frame all the same.
    """
    slack = 1e-6  # timestamps are rounded to the container's clock
    step = 0
    shown: SourceFrame | None = None
    for frame in frames:
        while shown is not None and start + (step + 0.5) / fps < frame.time - slack:
            yield start + (step + 0.5) / fps, shown
            step += 1
        shown = frame
    if shown is None:
        return
    while start + (step + 0.5) / fps < shown.time + shown.duration - slack:
        yield start + (step + 0.5) / fps, shown
        step += 1
    if step == 0 and shown.time + shown.duration > start:
        yield start + 0.5 / fps, shown
