"""The pyramid of a plain ViT: shapes, alignment with the frame, and timm's own intermediate maps."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.simple_pyramid import SimplePyramid, grid_size


@pytest.mark.parametrize(
    ("name", "image_size", "width"),
    [
        ("vit_small_patch14_dinov2", 224, 384),
        ("vit_small_patch14_dinov2", 128, 384),
        ("vit_small_patch16_dinov3", 64, 384),
        ("vit_tiny_patch16_224", 96, 192),
        ("vit_small_patch8_224", 64, 384),
    ],
)
def test_four_maps_at_strides_4_to_32(name: str, image_size: int, width: int) -> None:
    backbone = VisualBackbone(name, image_size=image_size).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, image_size, image_size))
    assert backbone.channels == (width,) * 4
    assert [tuple(each.shape) for each in maps] == [
        (1, width, image_size // s, image_size // s) for s in (4, 8, 16, 32)
    ]


def test_a_patch_of_14_pixels_covers_16_of_the_frame() -> None:
    assert (grid_size(224, 14), grid_size(128, 14), grid_size(224, 16), grid_size(224, 8)) == (
        196,
        112,
        224,
        224,
    )


class _Blocks(nn.Module):
    """A stand-in for a ViT: each of twelve blocks adds 1 to the mean colour of its patch."""

    def prune_intermediate_layers(self, indices: list[int], prune_norm: bool) -> list[int]:
        return indices

    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int], **options: object
    ) -> list[torch.Tensor]:
        return [F.avg_pool2d(x, 16) + index + 1 for index in indices]


def test_finer_maps_come_from_earlier_blocks_and_lie_on_the_frame() -> None:
    ramp = torch.arange(64.0).expand(1, 3, 64, 64)
    maps = SimplePyramid(_Blocks(), (2, 5, 8, 11), patch=16)(ramp)
    for block, stride, grid in zip((3, 6, 9, 12), (4, 8, 16, 32), maps, strict=True):
        # beyond the outer patches' centres it is flat
        inner = slice(16 // stride // 2, -(16 // stride // 2) or None)
        centres = F.avg_pool2d(ramp, stride)[..., inner]
        torch.testing.assert_close(grid[..., inner] - block, centres)


def test_weights_saved_by_timm_at_another_size(tmp_path: Path) -> None:
    """The position embedding is resized as timm does it for its own pretrained weights."""
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.pth")
    source = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=64,
        num_classes=1000,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "vit.pth")},
    ).eval()
    backbone = VisualBackbone(
        "vit_tiny_patch16_224", weights=str(tmp_path / "vit.pth"), image_size=64
    ).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = source.forward_intermediates(x, indices=[8], norm=True, intermediates_only=True)[
            0
        ]
        torch.testing.assert_close(backbone(x)[2], expected)


def test_a_frozen_vit_has_nothing_to_learn() -> None:
    """Hence its maps can be cached: the pyramid adds no parameters to timm's."""
    backbone = VisualBackbone("vit_tiny_patch16_224", image_size=64)
    timms = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0)
    assert {name.removeprefix("network.vit.") for name, _ in backbone.named_parameters()} == {
        name for name, _ in timms.named_parameters()
    }
