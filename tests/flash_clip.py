"""A clip whose picture and sound both mark one moment: a white flash and a beep."""

import numpy as np
from numpy.typing import NDArray

FPS = 24
HEIGHT, WIDTH = 90, 120
"""Of the small picture that tests of outputs use."""
SECONDS = 2
FLASH_FRAME = 24
SAMPLE_RATE = 16_000


def flash_frames(
    width: int = 120, height: int = 90, count: int = FPS * SECONDS, flash: int = FLASH_FRAME
) -> NDArray[np.uint8]:
    """(T, H, W, 3): a bluish box that moves to the right over brown, and one white frame."""
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = (200, 60, 30)
    for index, frame in enumerate(frames):
        left = width * index // (2 * count)
        frame[height // 4 : height * 3 // 4, left : left + width // 3] = (20, 180, 240)
    frames[flash] = 255
    return frames


def beep(
    start: float = 1.0,
    length: float = 0.2,
    seconds: float = SECONDS,
    sample_rate: int = SAMPLE_RATE,
) -> NDArray[np.float32]:
    """(S,): silence with a 440 Hz tone from `start` on."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (
        0.5 * np.sin(2 * np.pi * 440 * time) * ((time >= start) & (time < start + length))
    ).astype(np.float32)


def loud_span(waveform: NDArray[np.float32], sample_rate: int = SAMPLE_RATE) -> tuple[float, float]:
    """First and last moment above a fifth of full scale, in seconds."""
    loud = np.flatnonzero(np.abs(waveform) > 0.2)
    return float(loud[0] / sample_rate), float(loud[-1] / sample_rate)


def flash_time(frames: NDArray[np.uint8], timestamps: NDArray[np.float64]) -> float:
    """When the brightest frame is shown, in seconds."""
    return float(timestamps[frames.mean(axis=(1, 2, 3)).argmax()])
