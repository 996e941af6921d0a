"""The lectures' fully connected models, to the parameter: 784-256-10 and 784-512-L."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.categorical import CategoricalHead
from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import Likelihood
from ecmvae.vae.priors import UniformCategorical
from ecmvae.vae.vae import VAE, ConditionalVAE, LabelConditioned


def mlp_autoencoder(
    event_shape: Sequence[int] = (784,),
    hidden: int = 256,
    latent_dim: int = 10,
    *,
    noise_std: float = 0.0,
    likelihood: Likelihood | None = None,
) -> AutoEncoder:
    """D-hidden-L-hidden-D with ReLU, D the product of `event_shape`."""
    encoder = nn.Sequential(MLPEncoder(prod(event_shape), (hidden,)), nn.Linear(hidden, latent_dim))
    decoder = MLPDecoder(latent_dim, (hidden,), event_shape)
    return AutoEncoder(encoder, decoder, noise_std=noise_std, likelihood=likelihood)


def mlp_vae(
    event_shape: Sequence[int] = (784,),
    hidden: int = 256,
    latent_dim: int = 10,
    *,
    beta: float = 1.0,
    likelihood: Likelihood | None = None,
) -> VAE:
    """D-hidden-(L, L)-hidden-D with ReLU: 410,404 parameters at 784-256-10."""
    encoder = nn.Sequential(
        MLPEncoder(prod(event_shape), (hidden,)), GaussianHead(hidden, latent_dim)
    )
    decoder = MLPDecoder(latent_dim, (hidden,), event_shape)
    return VAE(encoder, decoder, latent_dim, beta=beta, likelihood=likelihood)


def mlp_categorical_vae(
    event_shape: Sequence[int] = (784,),
    hidden: int = 256,
    groups: int = 10,
    values: int = 10,
    *,
    temperature: float = 0.5,
) -> VAE:
    """D-hidden-(G*K)-hidden-D with G categorical latents of K values (Gumbel-softmax)."""
    encoder = nn.Sequential(
        MLPEncoder(prod(event_shape), (hidden,)),
        CategoricalHead(hidden, groups, values, temperature=temperature),
    )
    decoder = MLPDecoder(groups * values, (hidden,), event_shape)
    return VAE(encoder, decoder, groups * values, prior=UniformCategorical(groups, values))


def mlp_conditional_vae(
    event_shape: Sequence[int] = (784,),
    num_classes: int = 10,
    hidden: int = 256,
    latent_dim: int = 10,
    *,
    beta: float = 1.0,
) -> ConditionalVAE:
    """`mlp_vae` whose encoder and decoder both see a one-hot class (n, num_classes)."""
    encoder = nn.Sequential(
        MLPEncoder(prod(event_shape) + num_classes, (hidden,)), GaussianHead(hidden, latent_dim)
    )
    decoder = MLPDecoder(latent_dim + num_classes, (hidden,), event_shape)
    return ConditionalVAE(
        LabelConditioned(encoder), LabelConditioned(decoder), latent_dim, beta=beta
    )


class VariationalEncoder(nn.Module):
    """The lecture's encoder with its module names: linear1, mu_layer, logvar_layer.

    `VAE` accepts it as it is, because its answer ends in (mu, logvar).
    """

    def __init__(self, latent_dims: int, in_features: int = 784, hidden: int = 512) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_features, hidden)
        self.mu_layer = nn.Linear(hidden, latent_dims)
        self.logvar_layer = nn.Linear(hidden, latent_dims)

    def forward(
        self, x: Float[Tensor, "n ..."]
    ) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n l"], Float[Tensor, "n l"]]:
        """(n, ...) -> z, mu, logvar, each (n, L)."""
        hidden = torch.relu(self.linear1(x.flatten(1)))
        posterior = DiagonalGaussian(self.mu_layer(hidden), self.logvar_layer(hidden))
        return posterior.rsample(), posterior.mean, posterior.logvar


def lecture_vae(latent_dim: int = 2, event_shape: Sequence[int] = (784,), hidden: int = 512) -> VAE:
    """784-512-L with the lecture's encoder."""
    decoder = MLPDecoder(latent_dim, (hidden,), event_shape)
    return VAE(VariationalEncoder(latent_dim, prod(event_shape), hidden), decoder, latent_dim)
