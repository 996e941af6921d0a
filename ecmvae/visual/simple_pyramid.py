"""A feature pyramid of a plain ViT, whose blocks all work at one stride.

After the simple feature pyramid of ViTDet (Li et al., arXiv 2203.16527), with the taps of DPT (Ranftl et al., arXiv
2103.13413): the finer the map, the earlier the block that it is taken from. Both learn the resampling; here it has no
parameters, and the model's neck does the learning: a frozen ViT is frozen as a whole, and its maps can be cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.visual.timm_models import STRIDES


def grid_size(image_size: int, patch: int) -> int:
    """Side, in pixels, of the square that a ViT sees of a frame.

    A patch of 14 pixels would not divide a frame whose maps have strides 4 ... 32. The frame is shrunk so that each
    patch covers 16 pixels of it: 224 pixels become 196, 14 x 14 patches. Patches of 8 or 16 pixels need no resizing.
    """
    return image_size * patch // covered(patch)


def covered(patch: int) -> int:
    """Pixels of the frame that one patch covers: its side, rounded up to a power of two."""
    return 1 << (patch - 1).bit_length()


class SimplePyramid(nn.Module):
    """Four blocks of a ViT as maps at strides 4, 8, 16 and 32.

    Args:
        vit: A network of timm with ``forward_intermediates``, built for images of `grid_size` pixels.
        blocks: Indices of four blocks, one for each map, finest first. Later blocks are removed.
        patch: Side of the patches in pixels.
    """

    def __init__(self, vit: nn.Module, blocks: Sequence[int], patch: int) -> None:
        super().__init__()
        network: Any = vit
        self.blocks = network.prune_intermediate_layers(list(blocks), prune_norm=False)
        self.patch = patch
        self.vit = vit

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """(N, 3, H, W) -> maps (N, C, H/s, W/s), s = 4, 8, 16, 32, after the ViT's last normalisation layer."""
        height, width = (grid_size(side, self.patch) for side in frames.shape[-2:])
        if (height, width) != frames.shape[-2:]:
            frames = F.interpolate(frames, (height, width), mode="bilinear")
        network: Any = self.vit
        maps = network.forward_intermediates(
            frames, indices=self.blocks, norm=True, intermediates_only=True
        )
        return [
            resample_map(each, covered(self.patch), stride)
            for each, stride in zip(maps, STRIDES, strict=True)
        ]


def resample_map(grid: Tensor, stride: int, wanted: int) -> Tensor:
    """Bring a map from one stride to another: interpolate to a finer one, average to a coarser one."""
    if wanted < stride:
        return F.interpolate(grid, scale_factor=stride / wanted, mode="bilinear")
    return grid if wanted == stride else F.avg_pool2d(grid, wanted // stride)
