"""A folder as `make demo` leaves it, with a tiny model, and somebody's videos."""

from pathlib import Path

import numpy as np
import torch

from ecmvae.config import config_from_dict
from ecmvae.data.video import write_video
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model

CONFIG = config_from_dict(
    {
        "model": {
            "visual": {"name": "efficientnet_lite0"},
            "audio": {"name": "vggish_small", "frozen": False},
            "channels": 8,
        },
        "data": {"image_size": 64, "hop_seconds": 1.0},
    }
)


def write_demo(folder: Path, *videos: str) -> None:
    """Write ``runs/demo/best`` and videos of one second."""
    torch.manual_seed(0)
    save_model(build_model(CONFIG.model, image_size=64), folder / "runs" / "demo" / "best", CONFIG)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, size=(24, 48, 64, 3), dtype=np.uint8)
    for name in videos:
        write_video(
            folder / name, frames, 24, rng.normal(size=16000).astype(np.float32) * 0.1, 16000
        )
