"""Full-covariance Gaussians against scipy, torch.distributions and the lectures' examples."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.multivariate import MultivariateGaussian


@pytest.fixture
def gaussian():
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return MultivariateGaussian(
        torch.tensor([1.0, -2.0, 0.5, 0.0]).double(), root @ root.T + 0.3 * torch.eye(4).double()
    )


def test_density_determinant_and_entropy_against_scipy(gaussian):
    x = torch.randn(7, 4, dtype=torch.float64)
    theirs = stats.multivariate_normal(gaussian.mean.numpy(), gaussian.covariance.numpy())
    assert gaussian.log_prob(x).tolist() == pytest.approx(
        theirs.logpdf(x.numpy()).tolist(), abs=1e-10
    )
    assert gaussian.log_prob(x[0]).item() == pytest.approx(theirs.logpdf(x[0].numpy()), abs=1e-10)
    assert gaussian.determinant.item() == pytest.approx(
        np.linalg.det(gaussian.covariance.numpy()), rel=1e-10
    )
    assert gaussian.entropy().item() == pytest.approx(theirs.entropy(), abs=1e-10)


def test_kl_against_torch_and_the_known_answers(gaussian, known):
    torch_normal = torch.distributions.MultivariateNormal
    other = MultivariateGaussian(torch.zeros(4).double(), 2 * torch.eye(4).double())
    expected = torch.distributions.kl_divergence(
        torch_normal(gaussian.mean, gaussian.covariance), torch_normal(other.mean, other.covariance)
    )
    assert gaussian.kl(other).item() == pytest.approx(expected.item(), abs=1e-10)
    assert gaussian.kl(gaussian).item() == pytest.approx(0.0, abs=1e-10)


def test_one_dimension_is_the_univariate_normal():
    one = MultivariateGaussian(torch.tensor([2.0]).double(), torch.tensor([[9.0]]).double())
    assert one.log_prob(torch.tensor([5.0]).double()).item() == pytest.approx(
        stats.norm(2, 3).logpdf(5), abs=1e-12
    )


def test_a_diagonal_covariance_is_the_diagonal_gaussian():
    logvar = torch.tensor([0.3, -1.0, 0.5]).double()
    mean, x = torch.tensor([0.0, 1.0, -1.0]).double(), torch.randn(5, 3).double()
    full = MultivariateGaussian(mean, logvar.exp().diag())
    torch.testing.assert_close(full.log_prob(x), DiagonalGaussian(mean, logvar).log_prob(x))
    assert full.determinant.item() == pytest.approx(logvar.sum().exp().item())


def test_marginal_is_the_integral_over_the_others(gaussian):
    two = gaussian.marginal([2, 0])
    point = torch.tensor([0.7, 0.2]).double()
    axis = torch.linspace(-25, 25, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    full = torch.stack(
        [point[1].expand(len(grid)), grid[:, 0], point[0].expand(len(grid)), grid[:, 1]], 1
    )
    integral = gaussian.log_prob(full).exp().sum() * (axis[1] - axis[0]) ** 2
    assert two.log_prob(point).exp().item() == pytest.approx(integral.item(), rel=1e-6)


def test_conditional_is_joint_over_marginal(gaussian):
    given = torch.tensor([0.4, -1.0]).double()
    conditional = gaussian.conditional([3, 1], given)
    rest = torch.randn(6, 2).double()  # variables 0 and 2
    full = torch.stack([rest[:, 0], given[1].expand(6), rest[:, 1], given[0].expand(6)], 1)
    expected = gaussian.log_prob(full) - gaussian.marginal([3, 1]).log_prob(given)
    torch.testing.assert_close(conditional.log_prob(rest), expected)


@pytest.mark.parametrize(
    ("covariance", "determinant", "correlation"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], 1.0, 0.0),  # spherical
        ([[4.0, 0.0], [0.0, 0.25]], 1.0, 0.0),  # diagonal: an ellipse along the axes
        ([[1.0, 0.8], [0.8, 1.0]], 0.36, 0.8),  # full: the ellipse is tilted, 1 - r^2
        ([[4.0, -1.5], [-1.5, 1.0]], 1.75, -0.75),
    ],
)
def test_the_covariance_matrices_of_the_lectures(covariance, determinant, correlation):
    """Spherical, diagonal and full: det = s1^2 s2^2 (1 - r^2), the matrix is symmetric, the samples have it."""
    gaussian = MultivariateGaussian(torch.zeros(2).double(), torch.tensor(covariance).double())
    assert gaussian.determinant.item() == pytest.approx(determinant)
    assert gaussian.correlation[0, 1].item() == pytest.approx(correlation)
    assert torch.equal(gaussian.covariance, gaussian.covariance.T)
    x = gaussian.sample(100_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.T.cov(), gaussian.covariance, rtol=0.02, atol=0.02)
    on_the_ellipse = (gaussian.factor @ torch.tensor([math.cos(0.7), math.sin(0.7)]).double())[None]
    assert gaussian.squared_distance(on_the_ellipse).item() == pytest.approx(1.0)


def test_a_fit_is_the_maximum_of_the_likelihood(gaussian):
    x = gaussian.sample(500, torch.Generator().manual_seed(1))
    fitted = MultivariateGaussian.fit(x)
    best = fitted.log_prob(x).mean()
    for other in (gaussian, MultivariateGaussian(fitted.mean + 0.05, fitted.covariance)):
        assert best > other.log_prob(x).mean()
    assert MultivariateGaussian(fitted.mean, 1.05 * fitted.covariance).log_prob(x).mean() < best
    assert (x - fitted.mean).T.cov(correction=0).numpy() == pytest.approx(fitted.covariance.numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: MultivariateGaussian(torch.zeros(2), torch.eye(3)), "2x2 covariance"),
        (
            lambda g: MultivariateGaussian(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
            "symmetric",
        ),
        (
            lambda g: MultivariateGaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            "positive definite",
        ),
        (lambda g: g.marginal([0, 0]), "different variables"),
        (lambda g: g.marginal([4]), "between 0 and 3"),
        (lambda g: g.conditional([0, 1, 2, 3], torch.zeros(4).double()), "nothing is left"),
        (lambda g: g.conditional([0], torch.zeros(2).double()), "one for each"),
        (lambda g: MultivariateGaussian.fit(torch.zeros(1, 2)), "at least 2 samples"),
    ],
)
def test_bad_input_says_what_to_do(gaussian, call, message):
    with pytest.raises(ValueError, match=message):
        call(gaussian)
