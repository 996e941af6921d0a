"""Samplers against torch.distributions and scikit-learn, and on codes that no standard normal has."""

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.classic import MixtureModel
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.latent_samplers import (
    FullMixturePrior,
    fit_flow,
    fit_gaussian_mixture,
    fit_sampler,
    sample_with,
)
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.priors import StandardNormal


@pytest.fixture
def codes():
    """Two groups, far from each other and from 0, each with dependent dimensions."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 500, 1, generator=generator)
    points = torch.cat([a, 0.8 * a + 0.3 * b], 1)
    return points + torch.where(torch.rand(500, 1, generator=generator) < 0.3, 6.0, -4.0)


def test_the_mixtures_density_and_moments():
    weights, means = (
        torch.tensor([0.3, 0.7]).double(),
        torch.tensor([[1.0, 2.0], [-3.0, 0.0]]).double(),
    )
    covariances = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[2.0, -0.5], [-0.5, 0.5]]]).double()
    mixture = FullMixturePrior(weights, means, covariances)
    theirs = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariances))
    z = torch.randn(3, 5, 2).double()
    torch.testing.assert_close(mixture.log_prob(z), theirs.log_prob(z))
    drawn = mixture.sample(50_000, z, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), theirs.mean, rtol=0, atol=0.04)
    torch.testing.assert_close(drawn.var(0), theirs.variance, rtol=0.03, atol=0)


def test_the_fit_is_scikit_learns(codes):
    ours = fit_gaussian_mixture(codes, components=2, seed=3)
    theirs = MixtureModel(2, seed=3, covariance_type="full").fit(codes.double().numpy())
    expected = torch.from_numpy(theirs.log_prob(codes.double().numpy())).float()
    torch.testing.assert_close(ours.log_prob(codes), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["gaussian_mixture", "flow"])
def test_samplers_know_where_codes_lie(codes, name):
    sampler = fit_sampler(name, codes)
    gain = sampler.log_prob(codes).mean() - StandardNormal(2).log_prob(codes).mean()
    assert gain > 5
    drawn = sampler.sample(2000, codes, torch.Generator().manual_seed(0))
    right = (drawn[:, 0] > 1).float().mean().item()
    assert right == pytest.approx(0.3, abs=0.1)
    assert (drawn.mean(0) - codes.mean(0)).abs().max() < 0.8


def test_a_flows_density_is_normalised(codes):
    with torch.no_grad():  # as the commands call it
        flow = fit_flow(codes, epochs=10)
    axis = torch.linspace(-14, 14, 500)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1.0, abs=0.02)
    u = torch.randn(4, 2)
    torch.testing.assert_close(flow.inverse(flow(u)[0])[0], u, rtol=1e-4, atol=1e-4)


def test_any_run_takes_a_sampler(codes):
    sampler = fit_gaussian_mixture(codes, components=2)
    vae = mlp_vae((3,), 4, 2, likelihood=GaussianLikelihood(0.01))
    plain = AutoEncoder(nn.Linear(3, 2), nn.Linear(2, 3), likelihood=GaussianLikelihood(0.01))
    for model in (vae, plain):
        generator = torch.Generator().manual_seed(2)
        images = sample_with(model, sampler, 6, generator)
        same = model.decode(sampler.sample(6, codes, torch.Generator().manual_seed(2)))
        torch.testing.assert_close(images, same)
        noisy = sample_with(model, sampler, 6, torch.Generator().manual_seed(2), draw=True)
        assert 0.03 < (noisy - images).std() < 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fit_gaussian_mixture(x[:3], components=4), "at least as many codes"),
        (lambda x: fit_flow(x[:1]), "at least 2 codes"),
        (lambda x: fit_sampler("gan", x), "choose from gaussian_mixture, flow"),
    ],
)
def test_bad_input_says_what_to_do(codes, call, message):
    with pytest.raises(ValueError, match=message):
        call(codes)
