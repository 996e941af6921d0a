"""Arrays that would give wrong masks are refused, each in a line of its own."""

import numpy as np
import pytest

from ecmvae.errors import UserError
from ecmvae.prediction.predictor import check_frames, check_sound

FRAMES = np.zeros((2, 4, 6, 3), np.uint8)
SOUND = np.zeros(16, np.float32)


def test_what_is_asked_for_is_taken() -> None:
    check_frames(FRAMES)
    check_sound(SOUND, 16_000)
    check_sound(SOUND[:0].astype(np.float64), 44_100)  # silence


@pytest.mark.parametrize(
    "frames",
    [FRAMES / 255.0, FRAMES[..., 0], FRAMES[0], FRAMES.transpose(0, 3, 1, 2), FRAMES.repeat(2, axis=3)[..., :4]],
    ids=["floats", "grey", "a single one", "channels first", "transparent"],
)
def test_other_frames_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"\(F, H, W, 3\) uint8 RGB, got (float64|uint8) \("):
        check_frames(frames)


def test_no_frame_is_refused() -> None:
    with pytest.raises(UserError, match="no frame"):
        check_frames(FRAMES[:0])


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((2, 16)), 16_000, "take the mean of its channels"),
        (np.zeros(16, np.int16), 16_000, "divide int16 by 32768"),
        (np.full(16, np.nan), 16_000, "NaN"),
        (SOUND, 0, "sample_rate"),
    ],
)
def test_other_sound_is_refused(waveform: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_sound(waveform, rate)
