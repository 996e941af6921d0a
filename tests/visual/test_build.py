"""Backbones by name, import path, class and object, and what a wrong one lacks."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.config import ModelConfig, VisualConfig
from ecmvae.errors import UserError
from ecmvae.models import build_model
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.build import Backbone, build_backbone
from ecmvae.visual.normalisation import IMAGENET


class Pooled(nn.Module):
    """The smallest backbone there is: the frame itself, averaged."""

    channels = (3, 3, 3, 3)

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        return tuple(F.avg_pool2d(frames, stride) for stride in (4, 8, 16, 32))


def test_names_of_timm_and_of_ours() -> None:
    assert isinstance(build_backbone("pvt_v2_b0", image_size=64), VisualBackbone)
    assert build_backbone("resnet10t", image_size=64).channels == (64, 128, 256, 512)


def test_class_import_path_and_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "outside_backbones", type("Module", (), {"Pooled": Pooled}))
    by_class = build_backbone(Pooled, image_size=64)
    by_path = build_backbone("outside_backbones:Pooled", image_size=64)
    assert [by_class.image_size, by_path.image_size] == [64, 64]
    assert isinstance(by_path, Backbone)
    assert build_backbone(by_class, image_size=64) is by_class


def test_the_check_leaves_a_module_as_it_was() -> None:
    module = Pooled(64)
    module.norm, module.frozen = nn.BatchNorm2d(3), nn.BatchNorm2d(3).eval()
    build_backbone(module, image_size=64)
    assert (module.training, module.norm.training, module.frozen.training) == (True, True, False)
    assert module.norm.num_batches_tracked == 0


class WithoutChannels(nn.Module):
    pass


class Coarse(Pooled):
    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        return tuple(F.avg_pool2d(frames, stride) for stride in (8, 16, 32, 64))


class Failing(Pooled):
    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError("only 96 pixels")


@pytest.mark.parametrize(
    ("choice", "weights", "message"),
    [
        (WithoutChannels(), None, "WithoutChannels is not a visual backbone: it lacks .channels"),
        (dict, None, "dict is not a visual backbone: it is a dict, not an nn.Module"),
        (
            Coarse(64),
            None,
            r"Coarse is not a visual backbone: its maps are .*, needed are \[\(1, 3, 16, 16\)",
        ),
        (Failing(64), None, "Failing cannot see frames of 64 x 64 pixels: only 96 pixels"),
        (Pooled(64), "timm", "model.visual.weights is for timm's networks"),
        ("nowhere:Backbone", None, "cannot import nowhere:Backbone"),
    ],
)
def test_what_a_wrong_one_lacks(choice: Any, weights: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(choice, weights=weights, image_size=64)


def test_a_model_with_a_backbone_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "outside_backbones", type("Module", (), {"Pooled": Pooled}))
    visual = VisualConfig(name="outside_backbones:Pooled", frozen=True)
    model = build_model(ModelConfig(visual=visual, channels=8), image_size=64).eval()
    assert model.normalisation == IMAGENET
    logits = model(torch.randn(1, 2, 3, 64, 64), torch.randn(1, 2, 128)).logits
    assert logits.shape == (1, 2, 1, 64, 64)
