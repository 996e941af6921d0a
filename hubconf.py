"""Models for `torch.hub`: ``torch.hub.load(REPOSITORY, "segmenter", "collage-small")``.

`torch.hub` imports this file from a download of the repository, next to the package.
"""

from __future__ import annotations

from typing import Any

from ecmvae.models.checkpoint import load_model
from ecmvae.prediction.predictor import VideoPredictor

dependencies = [
    "torch",
    "torchaudio",
    "torchvision",
    "timm",
    "einops",
    "safetensors",
    "av",
    "cv2",
    "yaml",
]


def segmenter(name: str = "collage-small", **options: Any) -> Any:
    """A trained model, in eval mode; `name` is one of `ecmvae models`, a folder, or ``hf://owner/name``."""
    return load_model(name, **options)


def predictor(name: str = "collage-small", **options: Any) -> VideoPredictor:
    """A predictor of videos: ``predictor("dog.mp4").save("dog.overlay.mp4")``."""
    return VideoPredictor(name, **options)
