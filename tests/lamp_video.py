"""A video whose answer is known."""

from pathlib import Path

import numpy as np
from flash_clip import SAMPLE_RATE

from ecmvae.data.video import write_video


def lamp_video(
    path: Path,
    *,
    seconds: float,
    fps: int = 10,
    size: tuple[int, int] = (96, 128),
    sound: bool = True,
) -> Path:
    """A white square in the middle of black; a tone from 40 % to 70 % of the time."""
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    loud = (time >= 0.4 * seconds) & (time < 0.7 * seconds)
    tone = (0.5 * np.sin(2 * np.pi * 440 * time) * loud).astype(np.float32)
    frames = (frame for _ in range(round(seconds * fps)))
    write_video(path, frames, fps, tone if sound else None, SAMPLE_RATE if sound else None)
    return path
