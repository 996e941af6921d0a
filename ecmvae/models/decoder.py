"""Neck, decoder and head: four feature maps to one map of logits, after the coarse-to-fine scheme of AVSBench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FeatureNeck(nn.Module):
    """Bring the four backbone maps to one width. The neck has no activation: it is linear, except for BatchNorm.

    Args:
        in_channels: Channels of the backbone's maps.
        channels: C, the width of all maps from here on.
        kind: "basic": 1x1, 3x3 and 3x3 convolutions, each with BatchNorm. "aspp": the sum of four 3x3 convolutions
            with dilations 3, 6, 12 and 18; "aspp_bias": the same, with biases, as in AVSBench.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        kind: Literal["basic", "aspp", "aspp_bias"] = "basic",
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                *_conv_norm(width, channels, 1),
                *_conv_norm(channels, channels),
                *_conv_norm(channels, channels),
            )
            if kind == "basic"
            else _DilatedSum(width, channels, bias=kind == "aspp_bias")
            for width in in_channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Four maps (N, C_i, H/s, W/s) -> four maps (N, C, H/s, W/s)."""
        return [scale(each) for scale, each in zip(self.scales, maps, strict=True)]


class _DilatedSum(nn.Module):
    def __init__(self, before: int, after: int, *, bias: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=rate, dilation=rate, bias=bias)
            for rate in (3, 6, 12, 18)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = (branch(x) for branch in self.branches)
        total: Tensor = sum(rest, start=first)
        return total


class ResidualUnit(nn.Module):
    """x + twice [3x3 convolution, BatchNorm, ReLU]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv_norm = partial(_conv_norm, channels, channels)
        self.body = nn.Sequential(
            *conv_norm(), nn.ReLU(inplace=True), *conv_norm(), nn.ReLU(inplace=True)
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(N, C, h, w) -> the same shape."""
        refined: Tensor = x + self.body(x)
        return refined


class DecoderBlock(nn.Module):
    """Add a refined skip map, refine the sum, double the resolution."""

    unit: type[nn.Module] = ResidualUnit
    align_corners: bool | None = None
    """None repeats pixels; True interpolates bilinearly, corners on corners."""

    def __init__(self, channels: int, *, has_skip: bool) -> None:
        super().__init__()
        self.skip = self.unit(channels) if has_skip else None
        self.refine = self.unit(channels)

    def forward(
        self, x: Float[Tensor, "n c h w"], skip: Float[Tensor, "n c h w"] | None = None
    ) -> Float[Tensor, "n c h2 w2"]:
        """(N, C, h, w), and the skip map of the same shape -> (N, C, 2h, 2w)."""
        if self.skip is not None and skip is not None:
            x = x + self.skip(skip)
        mode = "nearest" if self.align_corners is None else "bilinear"
        return F.interpolate(
            self.refine(x), scale_factor=2.0, mode=mode, align_corners=self.align_corners
        )


class SegmentationHead(nn.Module):
    """Stride 2 to full resolution: 3x3 to C/2, double, 3x3 to C/4, ReLU, 1x1 to the classes."""

    def __init__(self, channels: int, num_classes: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.Upsample(scale_factor=2.0, mode="nearest"),
            nn.Conv2d(channels // 2, channels // 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 4, num_classes, 1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """(N, C, H/2, W/2) -> logits (N, classes, H, W)."""
        if self.training:
            logits: Tensor = self.layers(x)
            return logits
        first, _, second, *pointwise = self.layers
        assert isinstance(second, nn.Conv2d)
        parts = convolve_doubled(first(x), second)
        for (
            layer
        ) in pointwise:  # what looks at single pixels does so before they are put side by side
            parts = layer(parts)
        return rearrange(parts, "(a b n) k h w -> n k (h a) (w b)", a=2, b=2)


def convolve_doubled(x: Float[Tensor, "n c h w"], conv: nn.Conv2d) -> Float[Tensor, "m d h w"]:
    """A 3x3 convolution, padded by one, of a map whose pixels are repeated twice each way.

    Of the 3 x 3 pixels under the kernel at most 2 x 2 differ. Each of the four positions within a repeated pixel has a
    kernel of that size, the sum of the weights that meet the same pixel: 4 products in place of 9.

    Returns:
        (4 N, D, h, w): the pixels in the upper left of each repeated one, upper right, lower left and lower right.
    """
    # (position, pixel, row of kernel)
    rows = conv.weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    kernels = torch.einsum("aut,bvs,oits->abouvi", rows, rows, conv.weight)
    kernels = rearrange(kernels, "a b o u v i -> (a b o) i u v")
    bias = None if conv.bias is None else conv.bias.repeat(4)
    # one more window than pixels each way
    windows = F.conv2d(F.pad(x, (1, 1, 1, 1)), kernels, bias)
    height, width = x.shape[2:]
    parts = windows.chunk(4, dim=1)
    corners = [(a, b) for a in (0, 1) for b in (0, 1)]
    return torch.cat(
        [
            part[:, :, a : a + height, b : b + width]
            for part, (a, b) in zip(parts, corners, strict=True)
        ]
    )


class SegmentationDecoder(nn.Module):
    """Four fused maps to logits at the frame's size, from coarse to fine.

    The coarsest map goes through the first block, and each finer one is the skip map of the next block.

    Args:
        channels: C of the maps.
        num_classes: Channels of the logits; 1 for binary masks.
        block: Builds a block of ``(channels, has_skip=)`` that doubles the resolution.
        head: Builds a head of ``(channels, num_classes)``.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int = 1,
        block: Callable[..., nn.Module] = DecoderBlock,
        head: Callable[..., nn.Module] = SegmentationHead,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(channels, has_skip=level > 0) for level in range(4))
        self.head = head(channels, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "n k h w"]:
        """Four maps (N, C, H/s, W/s), finest first -> logits (N, classes, H, W)."""
        first, *others = self.blocks
        *finer, coarsest = maps
        x: Tensor = first(coarsest)
        for block, skip in zip(others, reversed(finer), strict=True):
            x = block(x, skip)
        logits: Tensor = self.head(x)
        return logits


def foreground_logits(logits: Float[Tensor, "*n k h w"]) -> Float[Tensor, "*n 1 h w"]:
    """Logits of "any class but background": the total probability of all classes but the first.

    sigmoid(log sum_{c>0} exp(x_c) - x_0) = 1 - softmax(x)_0, which is exact. A single channel is returned as it is.
    """
    if logits.shape[-3] == 1:
        return logits
    background, classes = logits[..., :1, :, :], logits[..., 1:, :, :]
    return classes.logsumexp(dim=-3, keepdim=True) - background


def _conv_norm(before: int, after: int, size: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(before, after, size, padding=size // 2, bias=False), nn.BatchNorm2d(after)]
