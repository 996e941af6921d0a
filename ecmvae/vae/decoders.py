"""Decoders: latents to the parameters of p(x|z). They return logits or means; no sigmoid inside."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class ConvDecoder(nn.Module):
    """A linear layer, then transposed convolutions that double the image: the mirror of `ConvEncoder`."""

    def __init__(
        self,
        latent_dim: int,
        in_shape: tuple[int, int, int],
        widths: Sequence[int],
        out_channels: int,
    ) -> None:
        """Build one layer for each of `widths`, its output channels, and a last one to `out_channels`.

        `in_shape` (C, H, W) is what the linear layer makes, usually the encoder's `out_shape`.
        """
        super().__init__()
        self.latent_dim, self.in_shape = latent_dim, in_shape
        self.project = nn.Linear(latent_dim, prod(in_shape))
        layers: list[nn.Module] = []
        channels = in_shape[0]
        for width in widths:
            layers += [_doubling(channels, width), nn.BatchNorm2d(width), nn.LeakyReLU()]
            channels = width
        layers.append(_doubling(channels, out_channels))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n c h w"]:
        """(n, L) -> (n, out_channels, H, W) logits or means."""
        channels, height, width = self.in_shape
        images: Tensor = self.layers(rearrange(self.project(z), "n (c h w) -> n c h w", c=channels, h=height, w=width))
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


def _doubling(channels: int, width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, width, kernel_size=4, stride=2, padding=1)
