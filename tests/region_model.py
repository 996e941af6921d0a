"""A small model with regions, and clips for it."""

from pathlib import Path

import torch
from torch import Tensor

from ecmvae.config import Config, load_config
from ecmvae.models import ECMVAE, build_model

LAYERS = Path(__file__).parents[1] / "configs" / "layers"


def region_config(**settings: object) -> Config:
    small = {"model.visual.name": "efficientnet_lite0", "model.channels": 16, "data.image_size": 64}
    return load_config([LAYERS / "agreement.yaml", LAYERS / "regions.yaml"], {**small, **settings})


def region_model(**settings: object) -> ECMVAE:
    torch.manual_seed(0)
    config = region_config(**settings)
    model = build_model(config.model, image_size=64)
    model.config = config
    return model


def region_clips() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    masks = torch.zeros(2, 3, 1, 64, 64)
    masks[:, :, :, 8:40, 8:40] = 1
    return torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks
