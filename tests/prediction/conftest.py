from pathlib import Path

import numpy as np
import pytest
from flash_clip import FPS, HEIGHT, SAMPLE_RATE, WIDTH, beep, flash_frames
from lamp_video import lamp_video

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import write_video
from ecmvae.prediction.result import VideoResult


@pytest.fixture(scope="session")
def ten_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames a second for ten seconds, see `lamp_video`."""
    return lamp_video(tmp_path_factory.mktemp("video") / "lamp.mp4", seconds=10.0)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "flash.mp4"
    write_video(path, flash_frames(WIDTH, HEIGHT), FPS, beep(), SAMPLE_RATE)
    return path


@pytest.fixture(scope="session")
def result(video: Path) -> VideoResult:
    """The left half of the picture sounds from the middle of the video on."""
    maps = np.zeros((8, 48, 64), np.float16)
    maps[4:, :, :32] = 1.0
    return VideoResult(
        path=video,
        geometry=Letterbox(height=HEIGHT, width=WIDTH, side=64),
        threshold=0.5,
        first_index=0,
        audio_track=0,
        timestamps=np.arange(48) / FPS,
        audio_activity=np.linspace(0, 1, 48).astype(np.float32),
        key_times=(np.arange(8) + 0.5) / 4,
        key_probabilities=maps,
    )


@pytest.fixture(autouse=True)
def _no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has measured on this machine must not choose the engine of a test."""
    monkeypatch.setenv("ECMVAE_CALIBRATION", "off")
