"""Rate and distortion against the closed form of a linear Gaussian model, and the slope of its curve."""

import math

import pytest
import torch
from torch import nn

from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.rate_distortion import RatePoint, rate_distortion_curve, rate_point, undominated
from ecmvae.vae.vae import VAE


def best_channel(beta, signal=4.0, variance=0.25):
    """x ~ N(0, signal), p(x|z) = N(w z, variance): the VAE that minimises D + beta R, and its rate and distortion.

    With q(z|x) = N(a x, s), p(z) = N(0, 1) and w^2 = signal - v chosen so that the aggregate posterior is the prior,
    s = beta v / (w^2 + beta v) and a = w / (w^2 + beta v), v the posterior's share.
    """
    model = VAE(
        GaussianHead(1, 1), nn.Linear(1, 1), 1, beta=beta, likelihood=GaussianLikelihood(variance)
    ).double()
    noise = beta * variance  # the mean squared error of the best code at this slope
    w = math.sqrt(signal - noise)
    s = noise / signal
    with torch.no_grad():
        model.encoder.mean.weight.fill_(w / signal)
        model.encoder.mean.bias.zero_()
        model.encoder.logvar.weight.zero_()
        model.encoder.logvar.bias.fill_(math.log(s))
        model.decoder.weight.fill_(w)
        model.decoder.bias.zero_()
    rate = 0.5 * math.log(signal / noise)
    distortion = 0.5 * math.log(2 * math.pi * variance) + 0.5 * noise / variance
    return model.eval(), rate, distortion


def test_points_are_shannons_curve_of_a_gaussian():
    """R = 1/2 log(signal / mse): the rate-distortion function, reached by a linear VAE."""
    generator = torch.Generator().manual_seed(0)
    x = 2.0 * torch.randn(40_000, 1, generator=generator, dtype=torch.float64)
    x = (x - x.mean()) / x.std() * 2.0
    models = {beta: best_channel(beta) for beta in (0.5, 1.0, 4.0)}
    curve = rate_distortion_curve(
        {beta: each[0] for beta, each in models.items()}, x, num_samples=3
    )
    assert [point.beta for point in curve] == [4.0, 1.0, 0.5]  # a large beta has a small rate
    for point in curve:
        _, rate, distortion = models[point.beta]
        assert point.rate == pytest.approx(rate, abs=1e-3)
        assert point.distortion == pytest.approx(distortion, abs=0.03)
        assert point.negative_elbo == pytest.approx(rate + distortion, abs=0.03)
    for beta in models:  # dD/dR = -beta, by a small step along the exact curve
        (_, r1, d1), (_, r2, d2) = best_channel(beta * 0.999), best_channel(beta * 1.001)
        assert (d2 - d1) / (r2 - r1) == pytest.approx(-beta, rel=1e-3)


def test_the_best_channel_is_a_minimum_of_the_loss():
    """A check of the fixture: its gradient vanishes."""
    x = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    x = (x - x.mean()) / x.std(correction=0) * 2.0
    model = best_channel(2.0)[0]
    torch.manual_seed(0)
    loss = torch.stack([model(x).loss for _ in range(20)]).mean()
    gradients = torch.autograd.grad(
        loss, [model.encoder.mean.weight, model.encoder.logvar.bias, model.decoder.weight]
    )
    assert max(each.abs().max().item() for each in gradients) < 0.15


def test_a_point_adds_up_to_the_elbo():
    model, x = mlp_vae((6,), 8, 2).eval(), torch.rand(30, 6)
    torch.manual_seed(0)
    point = rate_point(model, x, num_samples=100, batch_size=15)
    assert point.negative_elbo == pytest.approx(
        -model.elbo(x, num_samples=2000).mean().item(), abs=0.05
    )
    assert point.rate == pytest.approx(model.encode(x).kl().mean().item(), rel=1e-5)


def test_dominated_points_are_left_out():
    points = [
        RatePoint(beta=1.0, rate=r, distortion=d)
        for r, d in ((1.0, 5.0), (2.0, 3.0), (2.5, 3.5), (3.0, 3.0), (4.0, 1.0))
    ]
    assert [(each.rate, each.distortion) for each in undominated(points)] == [
        (1, 5),
        (2, 3),
        (4, 1),
    ]


def test_bad_input_says_what_to_do():
    with pytest.raises(ValueError, match="number of samples must be at least 1"):
        rate_point(mlp_vae((6,), 8, 2), torch.zeros(0, 6))
    with pytest.raises(ValueError, match="number of models must be at least 1"):
        rate_distortion_curve({}, torch.rand(2, 6))
