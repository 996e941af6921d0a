from pathlib import Path

import pytest
from lamp_video import lamp_video


@pytest.fixture(scope="session")
def ten_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames a second for ten seconds, see `lamp_video`."""
    return lamp_video(tmp_path_factory.mktemp("video") / "lamp.mp4", seconds=10.0)
