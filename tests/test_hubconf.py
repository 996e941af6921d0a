"""`torch.hub` finds the models of a clone."""

import sys
from pathlib import Path

import pytest
import torch

from ecmvae.models import ECMVAE
from ecmvae.prediction.predictor import VideoPredictor

ROOT = str(Path(__file__).parents[1])


def test_models_by_torch_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # torch.hub puts the clone in front
    model = torch.hub.load(ROOT, "segmenter", "collage-small", source="local")
    assert isinstance(model, ECMVAE)
    assert not model.training
    assert isinstance(
        torch.hub.load(ROOT, "predictor", source="local", device="cpu"), VideoPredictor
    )
