"""Ancestral sampling against product tables; the nonlinear model against quadrature."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from ecmvae.vae.ancestral import NonlinearLatentModel, sample_chain
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.linear import ProbabilisticPCA


def curve(z):
    return torch.cat([0.5 * z.sin().exp() + 0.2 * z, (2 * z).cos()], -1)


@pytest.fixture
def model(known):
    return NonlinearLatentModel(
        curve, 1, known("mog_nonlinear_manifold")["nonlinear_lvm"]["sigma2"]
    )


def test_quadrature_known_answers(known, model):
    case = known("mog_nonlinear_manifold")["nonlinear_lvm"]
    x = torch.tensor(case["x"], dtype=torch.float64)
    assert model.log_prob_by_quadrature(x).tolist() == pytest.approx(case["log_px"], abs=1e-8)


def test_sampling_estimate_is_near_quadrature(known, model):
    x = torch.tensor(known("mog_nonlinear_manifold")["nonlinear_lvm"]["x"], dtype=torch.float64)
    exact = model.log_prob_by_quadrature(x)
    torch.testing.assert_close(model.log_prob_by_sampling(x, 100_000), exact, rtol=0, atol=0.03)
    wide = DiagonalGaussian(torch.full((3, 1), 0.5).double(), torch.full((3, 1), 1.0).double())
    torch.testing.assert_close(
        model.log_prob_by_sampling(x, 100_000, wide), exact, rtol=0, atol=0.03
    )


def test_ancestral_samples_have_the_density(model):
    _, x = model.sample(20_000)
    inside = (
        ((x[:, 0] > 0.4) & (x[:, 0] < 0.6) & (x[:, 1] > 0.7) & (x[:, 1] < 0.9))
        .double()
        .mean()
        .item()
    )
    grid = torch.linspace(0.0, 0.2, 21, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(0.4 + grid, 0.7 + grid, indexing="ij"), -1).reshape(-1, 2)
    density = model.log_prob_by_quadrature(points, points=2001).exp().view(21, 21).numpy()
    expected = np.trapezoid(np.trapezoid(density, dx=0.01), dx=0.01)
    assert inside == pytest.approx(expected, abs=4 * (expected / 20_000) ** 0.5)


def test_training_by_the_likelihood_finds_the_curve():
    """Points on a noisy parabola: the likelihood grows at most steps and reaches that of the true model."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(150, 1, generator=generator, dtype=torch.float64)
    truth = NonlinearLatentModel(lambda u: torch.cat([u, u.square()], 1), 1, 0.04)
    x = truth.function(z) + 0.2 * torch.randn(150, 2, generator=generator, dtype=torch.float64)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2)).double()
    learner = NonlinearLatentModel(network, 1, 1.0, learn_variance=True)
    learner.likelihood.double()
    history = learner.fit(x, steps=300, learning_rate=3e-2, num_samples=101)
    assert len(history) == 301
    assert sum(b > a for a, b in pairwise(history)) > 0.75 * 300
    assert history[-1] > truth.log_likelihood(x).mean().item() - 0.1 > history[0]
    exact = learner.log_prob_by_quadrature(x).mean().item()
    assert history[-1] == pytest.approx(exact, abs=0.01)


def test_a_fit_of_two_latents_by_importance_sampling_comes_near_to_the_best_gaussian():
    """A linear f of two latents is probabilistic PCA, whose maximum likelihood is known."""
    torch.manual_seed(1)
    x = torch.randn(200, 2).double() @ torch.tensor([[1.0, 0.5, 0.2], [0.0, 1.0, -0.5]]).double()
    x = x + 0.7 * torch.randn(200, 3).double()
    learner = NonlinearLatentModel(nn.Linear(2, 3).double(), 2, 1.0, learn_variance=True)
    learner.likelihood.double()
    history = learner.fit(x, steps=150, learning_rate=3e-2, num_samples=100)
    best = ProbabilisticPCA.fit(x, 2).log_prob(x).mean().item()
    assert history[0] < best - 0.1
    assert history[-1] == pytest.approx(best, abs=0.05)


def test_chain_has_the_product_table():
    initial = torch.tensor([0.2, 0.8])
    first, second = (
        torch.tensor([[0.5, 0.5], [0.9, 0.1]]),
        torch.tensor([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]]),
    )
    drawn = sample_chain(initial, [first, second], 20_000)
    counts = torch.zeros(2, 2, 3)
    counts.index_put_(tuple(drawn.T), torch.ones(len(drawn)), accumulate=True)
    expected = 20_000 * initial[:, None, None] * first[:, :, None] * second[None]
    assert (
        stats.chisquare(
            counts.flatten().numpy(), expected.flatten().numpy(), sum_check=False
        ).pvalue
        > 0.001
    )


def test_bad_input_says_what_to_do(model):
    with pytest.raises(ValueError, match="at least 1"):
        model.sample(0)
    with pytest.raises(ValueError, match="one latent"):
        NonlinearLatentModel(curve, 2, 0.1).log_prob_by_quadrature(
            torch.zeros(1, 2, dtype=torch.float64)
        )
    with pytest.raises(ValueError, match="nothing can be learnt"):
        model.fit(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="2 values"):
        sample_chain(torch.tensor([0.5, 0.5]), [torch.ones(3, 1)], 5)
    with pytest.raises(ValueError, match="variance"):
        NonlinearLatentModel(curve, 1, 0.0)
