"""The Keras convolutional autoencoder and VAE of the lectures, with Keras' own `same` padding.

Keras pads an even image at stride 2 and kernel 3 by (0, 1), PyTorch's `padding=1` by (1, 1): same shapes, other values.
32x32x1 -> 3x3 stride-2 convolutions of 32, 64, 128 -> 2048 -> L, and back (D. Foster, "Generative deep learning").
"""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.vae import VAE

WIDTHS = (32, 64, 128)
"""Channels of the encoder's three convolutions."""


class SameConv2d(nn.Conv2d):
    """Convolution with Keras' `same` padding: ceil(size / stride) pixels out, the odd zero at the end."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 2
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride)

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """(n, C, H, W) -> (n, D, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (input.shape[-1], input.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution with Keras' `same` padding: size * stride pixels out, the odd pixel cropped at the end."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 2
    ) -> None:
        if kernel_size < stride:
            raise ValueError(f"kernel_size {kernel_size} must be at least the stride {stride}")
        super().__init__(in_channels, out_channels, kernel_size, stride)

    def forward(
        self, input: Float[Tensor, "n c h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "n d h2 w2"]:
        """(n, C, H, W) -> (n, D, H * stride, W * stride)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        start = (kernel - stride) // 2
        height, width = input.shape[-2] * stride, input.shape[-1] * stride
        return super().forward(input)[..., start : start + height, start : start + width]


class KerasEncoder(nn.Module):
    """Three `same` stride-2 convolutions with ReLU, flattened: (n, C, 32, 32) -> (n, 2048)."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        channels = (in_channels, *WIDTHS[:-1])
        self.convs = nn.ModuleList(SameConv2d(a, b) for a, b in zip(channels, WIDTHS, strict=True))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """(n, C, H, W) -> (n, 128 * H/8 * W/8)."""
        maps = images
        for conv in self.convs:
            maps = F.relu(conv(maps))
        return maps.flatten(1)


class KerasDecoder(nn.Module):
    """Linear to 4x4x128, three `same` transposed convolutions with ReLU, a last convolution to logits."""

    def __init__(self, latent_dim: int = 2, out_channels: int = 1) -> None:
        super().__init__()
        self.dense = nn.Linear(latent_dim, 4 * 4 * WIDTHS[-1])
        channels = (WIDTHS[-1], *WIDTHS[:0:-1])
        self.convs = nn.ModuleList(
            SameConvTranspose2d(a, b) for a, b in zip(channels, WIDTHS[::-1], strict=True)
        )
        self.output = SameConv2d(WIDTHS[0], out_channels, stride=1)

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n c h w"]:
        """(n, L) -> (n, out_channels, 32, 32) logits."""
        maps = rearrange(self.dense(z), "n (c h w) -> n c h w", h=4, w=4)
        for conv in self.convs:
            maps = F.relu(conv(maps))
        logits: Tensor = self.output(maps)
        return logits


def keras_autoencoder(latent_dim: int = 2) -> AutoEncoder:
    """Autoencoder on 1x32x32: 96,770 + 246,273 parameters with 2 latents."""
    encoder = nn.Sequential(KerasEncoder(), nn.Linear(2048, latent_dim))
    return AutoEncoder(encoder, KerasDecoder(latent_dim))


def keras_vae(latent_dim: int = 2, *, beta: float = 1.0) -> VAE:
    """VAE on 1x32x32: 100,868 + 246,273 parameters with 2 latents."""
    encoder = nn.Sequential(KerasEncoder(), GaussianHead(2048, latent_dim))
    return VAE(encoder, KerasDecoder(latent_dim), latent_dim, beta=beta)
