"""Gaussian mixtures against torch.distributions, quadrature and known answers."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.mixtures import GaussianMixture, MixtureHead


@pytest.fixture
def mixture():
    experts = [DiagonalGaussian(*torch.randn(2, 5, 2, dtype=torch.float64)) for _ in range(3)]
    return GaussianMixture.of(experts, torch.randn(3, 5, dtype=torch.float64))


def as_torch(mixture):
    components = Independent(
        Normal(mixture.components.mean.movedim(0, 1), mixture.components.std.movedim(0, 1)), 1
    )
    return MixtureSameFamily(Categorical(logits=mixture.log_weights.movedim(0, 1)), components)


def test_known_answers_of_a_one_dimensional_mixture(known):
    case = known("mog_nonlinear_manifold")["mog"]
    experts = [
        DiagonalGaussian(torch.tensor([mu]).double(), torch.tensor([2 * math.log(sigma)]).double())
        for mu, sigma in zip(case["mu"], case["sigma"], strict=True)
    ]
    mixture = GaussianMixture.of(experts, torch.tensor(case["weights"], dtype=torch.float64).log())
    x = torch.tensor(case["x"], dtype=torch.float64)
    log_prob = mixture.log_prob(x[:, None])
    assert log_prob.tolist() == pytest.approx(case["logpdf"], abs=1e-7)
    assert mixture.mean.item() == pytest.approx(case["mean"], abs=1e-7)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    assert np.trapezoid(
        mixture.log_prob(grid[:, None]).exp().numpy(), grid.numpy()
    ) == pytest.approx(1.0, abs=1e-9)


def test_log_prob_and_mean_against_torch(mixture):
    reference = as_torch(mixture)
    z = torch.randn(4, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(mixture.log_prob(z), reference.log_prob(z))
    torch.testing.assert_close(mixture.log_prob(z[0]), reference.log_prob(z[0]))
    torch.testing.assert_close(mixture.mean, reference.mean)


def test_samples_have_the_moments(mixture):
    drawn, reference = mixture.rsample(60_000), as_torch(mixture)
    assert drawn.shape == (60_000, 5, 2)
    spread = reference.variance.sqrt()
    assert ((drawn.mean(0) - reference.mean).abs() < 5 * spread / 60_000**0.5).all()
    torch.testing.assert_close(drawn.var(0), reference.variance, rtol=0.06, atol=0)


def bound(mixture):
    return mixture.average(mixture.components.kl())


def test_kl_estimate_and_its_bound(mixture):
    reference, standard = as_torch(mixture), Independent(Normal(torch.zeros(5, 2).double(), 1.0), 1)
    z = reference.sample((200_000,))
    ratios = reference.log_prob(z) - standard.log_prob(z)
    standard_error = ratios.std(0) / 200_000**0.5
    estimate = mixture.kl(num_samples=20_000)
    assert ((estimate - ratios.mean(0)).abs() < 8 * standard_error + 0.02).all()
    assert (bound(mixture) > estimate).all()


def test_kl_of_one_component_is_the_gaussians():
    q = DiagonalGaussian(*torch.randn(2, 5, 2, dtype=torch.float64))
    torch.testing.assert_close(bound(GaussianMixture.of([q])), q.kl())
    torch.testing.assert_close(bound(GaussianMixture.of([q, q])), q.kl())


def test_components_that_are_not_present_play_no_part():
    q, p = (DiagonalGaussian(*torch.randn(2, 4, 2)) for _ in range(2))
    mixture = GaussianMixture.of_present([q, p], torch.tensor([[True] * 4, [False] * 4]))
    z = torch.randn(4, 2)
    torch.testing.assert_close(mixture.log_prob(z), q.log_prob(z))
    torch.testing.assert_close(mixture.mode, q.mean)
    torch.testing.assert_close(bound(mixture), q.kl())
    assert torch.isfinite(mixture.kl()).all()
    with pytest.raises(ValueError, match="no component"):
        GaussianMixture.of_present(
            [q, p], torch.tensor([[True] * 4, [False] * 4]) & torch.tensor([True] * 3 + [False])
        )


def test_mode_is_the_heaviest_components_mean(mixture):
    for sample in range(5):
        best = mixture.log_weights[:, sample].argmax()
        assert torch.equal(mixture.mode[sample], mixture.components.mean[best, sample])


def test_head_makes_normalised_weights():
    mixture = MixtureHead(4, 2, 3)(torch.randn(6, 4))
    torch.testing.assert_close(mixture.log_weights.exp().sum(0), torch.ones(6))


def test_no_components():
    with pytest.raises(ValueError, match="non-empty"):
        GaussianMixture.of([])
