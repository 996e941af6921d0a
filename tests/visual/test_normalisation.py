"""Normalisation against torchvision, and against the arithmetic of the models trained before it existed."""

import json

import pytest
import torch
from einops import rearrange
from torchvision.transforms.v2 import functional as F

from ecmvae.errors import UserError
from ecmvae.visual.normalisation import IMAGENET, Normalisation

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
EVERY_BYTE = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 3, 1, 1)


@pytest.mark.parametrize("normalisation", [IMAGENET, HALF])
def test_same_as_torchvision(normalisation: Normalisation) -> None:
    scaled = F.to_dtype(EVERY_BYTE, torch.float32, scale=True)
    expected = F.normalize(scaled, list(normalisation.mean), list(normalisation.std))
    torch.testing.assert_close(normalisation(EVERY_BYTE), expected, atol=1e-6, rtol=0)


def test_bit_identical_to_channels_last_arithmetic() -> None:
    """The packaged model was trained on frames normalised like this."""
    pictures = rearrange(EVERY_BYTE, "t c h w -> t h w c").contiguous()
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    expected = rearrange((pictures.float() / 255 - mean) / std, "t h w c -> t c h w")
    assert torch.equal(IMAGENET(EVERY_BYTE), expected)


@pytest.mark.parametrize("normalisation", [IMAGENET, HALF])
def test_pictures_is_the_inverse(normalisation: Normalisation) -> None:
    restored = (normalisation.pictures(normalisation(EVERY_BYTE)) * 255).round().byte()
    assert torch.equal(restored, EVERY_BYTE)


def test_survives_json() -> None:
    assert Normalisation.from_dict(json.loads(json.dumps(IMAGENET.to_dict()))) == IMAGENET


@pytest.mark.parametrize(
    "broken", [{}, {"mean": [0, 0, 0]}, {"mean": 1, "std": 1}, {"mean": [0, 0], "std": [1, 1]}]
)
def test_from_dict_refuses(broken: dict[str, object]) -> None:
    with pytest.raises(UserError, match="cannot read a normalisation"):
        Normalisation.from_dict(broken)


def test_refuses_a_std_of_zero() -> None:
    with pytest.raises(ValueError, match="std must be positive"):
        Normalisation((0.5, 0.5, 0.5), (0.5, 0.0, 0.5))
