"""A ladder of two and three levels against a linear world whose log p(x) is known."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.ladder_vae import LadderEncoder, LadderVAE
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.metrics import bound_report


class LinearStep(nn.Module):
    """p(z_i|z_i+1) = N(W z + b, diag(v)) with one v for all."""

    def __init__(self, above, below):
        super().__init__()
        self.linear, self.logvar = nn.Linear(above, below), nn.Parameter(torch.full((below,), -0.7))

    def forward(self, z):
        mean = self.linear(z)
        return DiagonalGaussian(mean, self.logvar.expand_as(mean))


def ladder(widths=(3, 2), dim=5, variance=0.3):
    """A ladder whose p(x) is Gaussian; `widths` from the bottom level up."""
    torch.manual_seed(0)
    stages = [
        nn.Sequential(nn.Linear(dim, 8), nn.Tanh()),
        *(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in widths[1:]),
    ]
    encoder = LadderEncoder(stages, [GaussianHead(8, width) for width in widths])
    steps = [LinearStep(above, below) for below, above in pairwise(widths)]
    return LadderVAE(
        encoder,
        steps,
        nn.Linear(widths[0], dim),
        widths[-1],
        likelihood=GaussianLikelihood(variance),
    ).double()


def exact_density(model, variance=0.3):
    mean = torch.zeros(model.latent_dim, dtype=torch.float64)
    covariance = torch.eye(model.latent_dim, dtype=torch.float64)
    for step in reversed(model.top_down):
        w = step.linear.weight.detach()
        mean = w @ mean + step.linear.bias.detach()
        covariance = w @ covariance @ w.T + step.logvar.detach().exp().diag()
    w = model.decoder.weight.detach()
    mean = w @ mean + model.decoder.bias.detach()
    return torch.distributions.MultivariateNormal(
        mean, w @ covariance @ w.T + variance * torch.eye(5).double()
    )


@pytest.mark.parametrize("widths", [(3, 2), (3, 2, 2), (2,)])
def test_importance_sampling_reaches_the_exact_log_likelihood_and_the_elbo_stays_below(widths):
    model = ladder(widths)
    exact = exact_density(model)
    x = exact.sample((4,))
    with torch.no_grad():
        torch.testing.assert_close(
            model.log_likelihood(x, num_samples=20_000), exact.log_prob(x), rtol=0, atol=0.15
        )
        assert (model.elbo(x, num_samples=2000) < exact.log_prob(x)).all()


def test_the_elbo_by_closed_kls_is_that_of_the_log_weights():
    """log p(x|z_1) minus each level's KL has the mean of log p(x, z) - log q(z|x)."""
    model = ladder((3, 2, 2))
    x = exact_density(model).sample((3,))
    with torch.no_grad():
        closed = torch.stack(
            [model(x.repeat(500, 1)).elbo.view(500, 3).mean(0) for _ in range(4)]
        ).mean(0)
        torch.testing.assert_close(
            closed, model.log_weights(x, num_samples=4000).mean(0), rtol=0, atol=0.12
        )
        report = bound_report(model.float().eval(), x.float(), num_samples=100)
        kl = model(x.float().repeat(500, 1)).kl.mean().item()
    assert report["kl"] == pytest.approx(kl, rel=0.1)
    assert report["negative_iwae_100"] <= report["negative_elbo"]


def test_the_posterior_of_a_level_is_the_precision_weighted_product():
    model, x = ladder(), torch.randn(4, 5, dtype=torch.float64)
    output = model(x, "mean")
    bottom, top = model.encoder(x)
    above = model.top_down[0](top.mean)
    precision = 1 / bottom.variance + 1 / above.variance
    mean = (bottom.mean / bottom.variance + above.mean / above.variance) / precision
    torch.testing.assert_close(output.latents["z1"].mean, mean)
    torch.testing.assert_close(output.latents["z1"].variance, 1 / precision)
    torch.testing.assert_close(output.kl, top.kl() + output.latents["z1"].kl(above))


def test_samples_have_the_models_moments():
    model = ladder((3, 2, 2))
    exact = exact_density(model)
    with torch.no_grad():
        drawn = model.sample(40_000, torch.Generator().manual_seed(1), draw=True)
    torch.testing.assert_close(drawn.mean(0), exact.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.T.cov(), exact.covariance_matrix, rtol=0.05, atol=0.05)
    with torch.no_grad():
        means = model.sample(40_000, torch.Generator().manual_seed(1))
    assert (means.T.cov().diagonal() < drawn.T.cov().diagonal()).all()


def test_training_raises_the_bound_of_every_level_and_free_bits_act():
    model = ladder((3, 2))
    x = exact_density(model).sample((100,))
    model = ladder((3, 2))
    nn.init.normal_(model.decoder.weight, std=0.01)
    before = model(x, "mean").elbo.mean().item()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(x).loss.backward()
        optimizer.step()
    assert model(x, "mean").elbo.mean().item() > before + 1.0
    model.free_bits = 50.0
    assert model(x, "mean").loss.item() > 50.0 * 5


def test_the_top_level_is_the_latent_that_users_see():
    model, x = ladder(), torch.randn(4, 5, dtype=torch.float64)
    assert model.encode(x).mean.shape == (4, 2)
    assert model.decode(torch.zeros(4, 2, dtype=torch.float64)).shape == (4, 5)
    assert {name: tuple(q.mode.shape) for name, q in model.posterior_latents(x, None).items()} == {
        "z2": (4, 2),
        "z1": (4, 3),
    }
    torch.testing.assert_close(model.reconstruct(x), model(x, "mean").parameters)


def test_bad_input_says_what_to_do():
    encoder = LadderEncoder([nn.Identity()], [GaussianHead(5, 2)])
    with pytest.raises(ValueError, match="1 levels need 0 steps down, got 1"):
        LadderVAE(encoder, [nn.Identity()], nn.Identity(), 2)
    with pytest.raises(ValueError, match="one head for each stage"):
        LadderEncoder([nn.Identity()], [])
