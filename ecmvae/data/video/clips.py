"""Clips: frames together with their sound, a whole file at once or window after window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
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
        waveform: (S,) float32 in [-1, 1], mono, 16 kHz.
        sound_start: Time of `waveform[0]` in seconds from the start of the video; may be negative.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    waveform: NDArray[np.float32]
    sound_start: float


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
        UserError: When the file cannot be read, or the video ends before `start`.
    """
    clips = stream_clips(path, window=math.inf, fps=fps, start=start, duration=duration, audio_track=audio_track)
    return next(clips)


def stream_clips(
    path: str | Path,
    *,
    window: float,
    margin: float = 0.0,
    fps: float | None = None,
    start: float = 0.0,
    duration: float | None = None,
    audio_track: int = 0,
) -> Iterator[RawClip]:
    """Read a video window after window; one window is in memory at a time.

    Args:
        path: Video file.
        window: Seconds a window; windows without a frame are left out.
        margin: Seconds of sound to add before and after each window, silent where the video has none.
        fps: As for `read_clip`; with a number a frame may be repeated.
        start: Seconds from the start of the video.
        duration: Seconds to read, None = to the end.
        audio_track: Which audio track, from 0.

    Yields:
        Clips in order. The last one ends with its last frame.

    Raises:
        UserError: When the file cannot be read, or the video ends before `start`.
    """
    path = Path(path)
    info = probe(path)
    stop = math.inf if duration is None else start + duration
    with SoundReader(path, track=audio_track, origin=info.start) as sound:
        window_start, end = start, start
        pixels: list[NDArray[np.uint8]] = []
        times: list[float] = []
        empty = True
        for time, frame in _chosen(path, fps, start, stop):
            while time >= window_start + window:
                if pixels:
                    yield _clip(pixels, times, sound, window_start, window_start + window, margin)
                    pixels, times = [], []
                window_start += window
            pixels.append(frame.rgb())
            times.append(time)
            end = min(time + (frame.duration if fps is None else 0.5 / fps), stop, window_start + window)
            empty = False
        if empty:
            raise UserError(f"{show_path(path)} has no frame between {start:g} s and {stop:g} s")
        yield _clip(pixels, times, sound, window_start, end, margin)


def _chosen(path: Path, fps: float | None, start: float, stop: float) -> Iterator[tuple[float, SourceFrame]]:
    """The wanted frames with the times they stand for."""
    if fps is None:
        for frame in stream_frames(path):
            if frame.time >= stop:
                return
            if frame.time >= start:
                yield frame.time, frame
        return
    for time, frame in frames_at_rate(stream_frames(path), fps, start):
        if time >= stop:
            return
        yield time, frame


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


def _clip(
    pixels: list[NDArray[np.uint8]],
    times: list[float],
    sound: SoundReader,
    start: float,
    end: float,
    margin: float,
) -> RawClip:
    first, last = round((start - margin) * SAMPLE_RATE), round((end + margin) * SAMPLE_RATE)
    return RawClip(
        frames=np.stack(pixels),
        timestamps=np.asarray(times, np.float64),
        waveform=sound.read(first, last),
        sound_start=first / SAMPLE_RATE,
    )
