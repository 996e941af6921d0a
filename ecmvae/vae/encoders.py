"""Encoders: images or vectors to a flat feature, and the head that turns a feature into a `DiagonalGaussian`."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.gaussian import LOGVAR_LIMIT, DiagonalGaussian


class GaussianHead(nn.Module):
    """Two separate linear layers, one for the mean and one for the log-variance.

    The log-variance of a network is clamped here and nowhere else, to +-`LOGVAR_LIMIT`. Under autocast the
    distribution comes out in the dtype of the head's weights, so that its KL keeps float32 digits.
    """

    def __init__(self, in_features: int, latent_dim: int) -> None:
        super().__init__()
        self.in_features, self.latent_dim = in_features, latent_dim
        self.mean = nn.Linear(in_features, latent_dim)
        self.logvar = nn.Linear(in_features, latent_dim)

    def forward(self, features: Float[Tensor, "... f"]) -> DiagonalGaussian:
        """(..., F) features -> distribution over (..., L)."""
        dtype = self.mean.weight.dtype
        mean = self.mean(features).to(dtype)
        logvar = self.logvar(features).to(dtype)
        return DiagonalGaussian(mean, logvar.clamp(-LOGVAR_LIMIT, LOGVAR_LIMIT))


class ConvEncoder(nn.Module):
    """Strided convolutions with batch norm and LeakyReLU, flattened in C, H, W order.

    Kernel 4, stride 2 and padding 1 halve an even image in each layer. `widths=(16, 32, 64, 128, 128)` on 224 pixels is
    the image encoder of ECMVAE's latents: 128 * 7 * 7 = 6272 features.

    Attributes:
        out_features: Length of the feature vector.
        out_shape: Its (C, H, W) before flattening, what `ConvDecoder` starts from.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], image_size: int) -> None:
        """Build one layer for each of `widths`, its output channels; `image_size` is height and width in pixels.

        Raises:
            ValueError: When there is no layer, or one would have to halve an odd size, which no decoder could undo.
        """
        super().__init__()
        if not widths:
            raise ValueError("ConvEncoder needs at least one width")
        self.in_channels, self.image_size = in_channels, image_size
        layers: list[nn.Module] = []
        channels, size = in_channels, image_size
        for width in widths:
            if size % 2:
                raise ValueError(
                    f"image_size {image_size} cannot be halved {len(widths)} times (stuck at {size} pixels): use a "
                    f"multiple of {2 ** len(widths)} or fewer widths"
                )
            convolution = nn.Conv2d(channels, width, kernel_size=4, stride=2, padding=1)
            layers += [convolution, nn.BatchNorm2d(width), nn.LeakyReLU()]
            channels, size = width, size // 2
        self.layers = nn.Sequential(*layers)
        self.out_shape = (channels, size, size)
        self.out_features = channels * size * size

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """(n, C, H, W) -> (n, out_features)."""
        maps: Tensor = self.layers(images)
        return maps.flatten(1)


class MLPEncoder(nn.Module):
    """Fully connected layers with ReLU over the flattened input.

    Attributes:
        out_features: Length of the feature vector.
    """

    def __init__(self, in_features: int, widths: Sequence[int]) -> None:
        """Build one Linear + ReLU a width; `in_features` is the length of the flattened input."""
        super().__init__()
        if not widths:
            raise ValueError("MLPEncoder needs at least one width")
        self.in_features, self.out_features = in_features, widths[-1]
        layers: list[nn.Module] = []
        for before, after in zip((in_features, *widths[:-1]), widths, strict=True):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n f"]:
        """(n, ...) -> (n, out_features)."""
        flat = inputs.flatten(1)
        if flat.shape[1] != self.in_features:
            raise ValueError(
                f"expected {self.in_features} numbers a sample, got {flat.shape[1]} from shape {tuple(inputs.shape)}: "
                "set in_features to the size of your data"
            )
        features: Tensor = self.layers(flat)
        return features
