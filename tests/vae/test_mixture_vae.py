"""The mixture-posterior VAE: its stratified ELBO against plain Monte Carlo, and against a plain VAE."""

import pytest
import torch
from torch import nn

from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.mixture_vae import MixtureVAE
from ecmvae.vae.mixtures import MixtureHead
from ecmvae.vae.vae import VAE


def model(components):
    encoder = nn.Sequential(MLPEncoder(6, (8,)), MixtureHead(8, 2, components))
    return MixtureVAE(encoder, nn.Linear(2, 6), 2)


def test_elbo_is_the_mean_log_weight():
    vae, x = model(3), torch.rand(4, 6)
    with torch.no_grad():
        elbo = torch.stack([vae(x).elbo for _ in range(300)])
        weights = vae.log_weights(x, num_samples=20_000)
    standard_error = (elbo.var(0) / 300 + weights.var(0) / 20_000).sqrt()
    assert ((elbo.mean(0) - weights.mean(0)).abs() < 5 * standard_error).all()


def test_one_component_is_the_plain_vae():
    mixture, x = model(1), torch.rand(4, 6)
    trunk, head = mixture.encoder
    plain = VAE(nn.Sequential(trunk, head.heads[0]), mixture.decoder, 2)
    torch.manual_seed(3)
    ours = mixture(x)
    torch.manual_seed(3)
    theirs = plain(x)
    torch.testing.assert_close(ours.log_likelihood, theirs.log_likelihood)
    torch.testing.assert_close(ours.z, theirs.z)


def test_gradients_reach_the_weights():
    vae = model(3)
    vae(torch.rand(4, 6)).loss.backward()
    assert vae.encoder[1].weights.weight.grad.abs().sum() > 0


def test_needs_a_mixture():
    encoder = nn.Sequential(MLPEncoder(6, (8,)), GaussianHead(8, 2))
    with pytest.raises(ValueError, match="use VAE"):
        MixtureVAE(encoder, nn.Linear(2, 6), 2)(torch.rand(2, 6))
