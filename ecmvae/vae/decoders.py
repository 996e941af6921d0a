"""Decoders: latents to the parameters of p(x|z). They return logits or means; no sigmoid inside."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal, get_args

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Upsampling = Literal["transposed", "nearest"]
"""How a decoder doubles its maps: a transposed convolution of stride 2, or nearest neighbours and then a convolution,
which leaves no checkerboard (Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016)."""


class ConvDecoder(nn.Module):
    """A linear layer, then convolutions that double the image: the mirror of `ConvEncoder`."""

    def __init__(
        self,
        latent_dim: int,
        in_shape: tuple[int, int, int],
        widths: Sequence[int],
        out_channels: int,
        upsampling: str = "transposed",
    ) -> None:
        """Build one layer for each of `widths`, its output channels, and a last one to `out_channels`.

        `in_shape` (C, H, W) is what the linear layer makes, usually the encoder's `out_shape`.

        Raises:
            ValueError: For another `upsampling`.
        """
        if upsampling not in get_args(Upsampling):
            raise ValueError(
                f"unknown upsampling {upsampling!r}: choose from {', '.join(get_args(Upsampling))}"
            )
        super().__init__()
        self.latent_dim, self.in_shape = latent_dim, in_shape
        self.project = nn.Linear(latent_dim, prod(in_shape))
        layers: list[nn.Module] = []
        channels = in_shape[0]
        for width in widths:
            layers += [
                *_doubling(channels, width, upsampling),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(),
            ]
            channels = width
        layers += _doubling(channels, out_channels, upsampling)
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n c h w"]:
        """(n, L) -> (n, out_channels, H, W) logits or means."""
        channels, height, width = self.in_shape
        images: Tensor = self.layers(
            rearrange(self.project(z), "n (c h w) -> n c h w", c=channels, h=height, w=width)
        )
        return images


class MLPDecoder(nn.Module):
    """Fully connected layers with ReLU, reshaped to `out_shape`."""

    def __init__(self, latent_dim: int, widths: Sequence[int], out_shape: Sequence[int]) -> None:
        """Build one Linear + ReLU a width and a last Linear to `out_shape`, for instance (1, 28, 28) or (784,)."""
        super().__init__()
        self.latent_dim, self.out_shape = latent_dim, tuple(out_shape)
        layers: list[nn.Module] = []
        features = latent_dim
        for width in widths:
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        layers.append(nn.Linear(features, prod(self.out_shape)))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n ..."]:
        """(n, L) -> (n, *out_shape) logits or means."""
        flat: Tensor = self.layers(z)
        return flat.reshape(len(z), *self.out_shape)


def _doubling(channels: int, width: int, upsampling: str) -> list[nn.Module]:
    if upsampling == "transposed":
        return [nn.ConvTranspose2d(channels, width, kernel_size=4, stride=2, padding=1)]
    return [nn.Upsample(scale_factor=2), nn.Conv2d(channels, width, kernel_size=3, padding=1)]
