"""The face VAE of the lectures (CelebA form): RGB, 200 latents, batch norm after each convolution, beta 2000.

And an autoencoder of the same network, to compare with.
"""

from __future__ import annotations

from torch import nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.decoders import ConvDecoder
from ecmvae.vae.encoders import ConvEncoder, GaussianHead
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.vae import VAE

BETA = 2000.0
"""The lectures' weight on the reconstruction's *mean* squared error per value, against the KL."""

WIDTHS = (32, 64, 128, 128)
"""Channels of the four convolutions: 64 pixels end at 4x4, 32 pixels at 2x2."""


def face_vae(
    image_size: int = 64,
    latent_dim: int = 200,
    *,
    reconstruction_weight: float = BETA,
    upsampling: str = "transposed",
) -> VAE:
    """Build it.

    In Foster's notation the loss is 2000 * mean squared error + KL: the factor called beta stands before the
    *reconstruction*. A mean over D values weighted by R is the squared error of a Gaussian with variance D / (2 R), so
    that the loss below is, up to a constant, that number in nats, its ELBO a true bound, and the KL's weight stays 1.
    R is `reconstruction_weight`; `image_size` is the height and width in pixels, a multiple of 16; `upsampling` (an
    `Upsampling` of `ecmvae.vae.decoders`) is how the decoder doubles its maps.
    """
    encoder = ConvEncoder(3, WIDTHS, image_size)
    return VAE(
        nn.Sequential(encoder, GaussianHead(encoder.out_features, latent_dim)),
        ConvDecoder(latent_dim, encoder.out_shape, WIDTHS[-2::-1], 3, upsampling),
        latent_dim,
        likelihood=_likelihood(image_size, reconstruction_weight),
    )


def face_autoencoder(
    image_size: int = 64,
    latent_dim: int = 200,
    *,
    reconstruction_weight: float = BETA,
    upsampling: str = "transposed",
) -> AutoEncoder:
    """The same network without a distribution: the code is one linear layer, the loss the reconstruction's alone.

    Arguments as of `face_vae`; the weight only scales the loss.
    """
    encoder = ConvEncoder(3, WIDTHS, image_size)
    return AutoEncoder(
        nn.Sequential(encoder, nn.Linear(encoder.out_features, latent_dim)),
        ConvDecoder(latent_dim, encoder.out_shape, WIDTHS[-2::-1], 3, upsampling),
        likelihood=_likelihood(image_size, reconstruction_weight),
    )


def _likelihood(image_size: int, reconstruction_weight: float) -> GaussianLikelihood:
    """The Gaussian whose -log p is the weighted mean squared error, up to a constant."""
    return GaussianLikelihood(3 * image_size * image_size / (2.0 * reconstruction_weight))
