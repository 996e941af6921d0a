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
        *,
        kernel_size: int = 4,
        stride: int = 2,
        padding: int = 1,
        batch_norm: bool = True,
        negative_slope: float = 0.01,
    ) -> None:
        """Build one transposed convolution a width and a last one to `out_channels`.

        Args:
            latent_dim: L.
            in_shape: (C, H, W) that the linear layer makes, usually the encoder's `out_shape`.
            widths: Output channels of each layer but the last; may be empty.
            out_channels: Channels of the image.
            kernel_size: Of every transposed convolution.
            stride: Of every transposed convolution.
            padding: Of every transposed convolution.
            batch_norm: Normalise after each layer but the last.
            negative_slope: Of the LeakyReLU; 0 is a plain ReLU.
        """
        super().__init__()
        self.latent_dim, self.in_shape = latent_dim, in_shape
        self.project = nn.Linear(latent_dim, prod(in_shape))
        layers: list[nn.Module] = []
        channels = in_shape[0]
        for width in widths:
            layers.append(nn.ConvTranspose2d(channels, width, kernel_size, stride, padding))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(negative_slope))
            channels = width
        layers.append(nn.ConvTranspose2d(channels, out_channels, kernel_size, stride, padding))
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
