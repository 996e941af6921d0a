"""Bounds on models whose log p(x) and mutual information are known exactly."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.vae import bounds
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood

DIM, LATENT, VARIANCE = 5, 2, 0.3


class LinearGaussian:
    """z ~ N(0, I), x = W z + noise: everything in closed form. W is diagonal in z so that the posterior is, too."""

    def __init__(self):
        basis = torch.linalg.qr(torch.randn(DIM, LATENT, dtype=torch.float64)).Q
        self.weight = basis * torch.tensor([1.5, 0.7], dtype=torch.float64)
        self.x = (
            torch.randn(LATENT, dtype=torch.float64) @ self.weight.T + 0.5 * torch.randn(DIM)
        ).double()
        covariance = (self.weight @ self.weight.T).numpy() + VARIANCE * np.eye(DIM)
        self.log_p = stats.multivariate_normal(np.zeros(DIM), covariance).logpdf(self.x.numpy())
        precision = 1 + (self.weight**2).sum(0) / VARIANCE
        self.posterior = DiagonalGaussian(
            self.x @ self.weight / VARIANCE / precision, -precision.log()
        )

    def log_weights(self, q, count):
        z = q.rsample(count)
        likelihood = GaussianLikelihood(VARIANCE)
        log_x = likelihood.log_prob((z @ self.weight.T)[:, None], self.x[None])[:, 0]
        zeros = torch.zeros_like(z)
        return (log_x + DiagonalGaussian(zeros, zeros).log_prob(z) - q.log_prob(z)).detach()


@pytest.fixture
def model():
    return LinearGaussian()


def shifted(posterior):
    return DiagonalGaussian(posterior.mean + 0.4, posterior.logvar + 0.5)


def test_every_weight_is_log_p_at_the_exact_posterior(model):
    weights = model.log_weights(model.posterior, 50)
    torch.testing.assert_close(weights, torch.full_like(weights, model.log_p), rtol=0, atol=1e-9)
    assert bounds.iwae(weights).item() == pytest.approx(model.log_p, abs=1e-9)


def test_elbo_in_three_forms(model):
    q = shifted(model.posterior)
    exact = model.log_p - q.kl(model.posterior).item()  # log p(x) = ELBO + KL(q || posterior)
    error = ((model.x - q.mean @ model.weight.T) ** 2).sum() + (model.weight**2 @ q.variance).sum()
    reconstruction = -0.5 * DIM * math.log(2 * math.pi * VARIANCE) - 0.5 * error / VARIANCE
    assert bounds.elbo(reconstruction, q.kl()).item() == pytest.approx(exact, abs=1e-9)
    weights = model.log_weights(q, 200_000)
    assert weights.mean().item() == pytest.approx(
        exact, abs=4 * weights.std().item() / math.sqrt(200_000)
    )


def test_iwae_rises_with_k_from_elbo_to_log_p(model):
    q = shifted(model.posterior)
    last = -math.inf
    for count in (1, 2, 5, 20, 100):
        estimates = bounds.iwae(model.log_weights(q, 100_000).view(count, -1))
        standard_error = estimates.std().item() / math.sqrt(len(estimates))
        value = estimates.mean().item()
        assert last < value < model.log_p + 4 * standard_error
        last = value
    assert last == pytest.approx(model.log_p, abs=0.02)


def test_iwae_brute_force():
    weights = torch.randn(7, 3, dtype=torch.float64)
    expected = np.log(np.exp(weights.numpy()).mean(0))
    np.testing.assert_allclose(bounds.iwae(weights).numpy(), expected, atol=1e-12)


def test_elbo_is_linear_in_beta():
    scores, kl = torch.randn(4), torch.rand(4)
    torch.testing.assert_close(
        bounds.elbo(scores, kl, 3.0) - bounds.elbo(scores, kl, 1.0), -2.0 * kl
    )


# -------------------------------------------------------------------------------------------- mutual information


def correlated(count, dim, rho):
    x, noise = torch.randn(2, count, dim, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def exact_information(dim, rho):
    return -0.5 * dim * math.log(1 - rho**2)


def conditional(x, rho):
    return DiagonalGaussian(rho * x, torch.full_like(x, math.log(1 - rho**2)))


def entropy(dim):
    return 0.5 * dim * math.log(2 * math.pi * math.e)


def log_ratio(x, y, rho):
    """(n, n) of log p(y_j|x_i) / p(y_j): the best critic."""
    zeros = torch.zeros_like(y)
    given = DiagonalGaussian(rho * x[:, None], torch.full_like(x[:, None], math.log(1 - rho**2)))
    return given.log_prob(y) - DiagonalGaussian(zeros, zeros).log_prob(y)


@pytest.mark.parametrize(("dim", "rho"), [(1, 0.9), (4, 0.5), (20, 0.5)])
def test_barber_agakov_is_exact_for_the_true_conditional(dim, rho):
    x, y = correlated(40_000, dim, rho)
    exact = exact_information(dim, rho)
    values = conditional(x, rho).log_prob(y) + entropy(dim)
    tolerance = 4 * values.std().item() / 200
    assert bounds.barber_agakov(y, conditional(x, rho), entropy(dim)).item() == pytest.approx(
        exact, abs=tolerance
    )
    wrong = DiagonalGaussian(0.5 * rho * x, torch.zeros_like(x))
    # E KL(true || wrong)
    gap = 0.5 * dim * ((1 - rho**2) + (0.5 * rho) ** 2 - 1 - math.log(1 - rho**2))
    assert bounds.barber_agakov(y, wrong, entropy(dim)).item() == pytest.approx(
        exact - gap, abs=3 * tolerance
    )


def test_club_with_the_true_conditional_is_loose_from_above():
    dim, rho, values = 1, 0.9, []
    for _ in range(40):
        x, y = correlated(1000, dim, rho)
        values.append(bounds.club(y, conditional(x, rho)).item())
    expected = dim * rho**2 / (1 - rho**2)  # 4.263, against an information of 0.830
    # The mean over all pairs holds the n matched ones too: a factor (n - 1) / n.
    assert np.mean(values) == pytest.approx(
        expected * 0.999, abs=4 * np.std(values) / math.sqrt(40)
    )
    assert np.mean(values) > exact_information(dim, rho)


def test_club_brute_force():
    x, y = correlated(6, 3, 0.5)
    q = conditional(x, 0.5)
    table = np.array(
        [
            [
                stats.norm(q.mean[i].numpy(), q.std[i].numpy()).logpdf(y[j].numpy()).sum()
                for j in range(6)
            ]
            for i in range(6)
        ]
    )
    assert bounds.club(y, q).item() == pytest.approx(
        np.diag(table).mean() - table.mean(), abs=1e-10
    )


@pytest.mark.parametrize(("count", "expected"), [(2, 0.575), (8, 1.569), (32, 2.223), (128, 2.639)])
def test_info_nce_at_the_best_critic(count, expected):
    values = []
    for _ in range(max(40, 2_000 // count)):
        x, y = correlated(count, 20, 0.5)
        values.append(bounds.info_nce(log_ratio(x, y, 0.5)).item())
    assert np.mean(values) == pytest.approx(
        expected, abs=4 * np.std(values) / math.sqrt(len(values)) + 5e-4
    )
    assert max(values) <= math.log(count)


def test_info_nce_brute_force():
    scores = torch.randn(5, 5, dtype=torch.float64)
    table = scores.numpy()
    expected = np.mean([table[i, i] - np.log(np.exp(table[i]).mean()) for i in range(5)])
    assert bounds.info_nce(scores).item() == pytest.approx(expected, abs=1e-12)


def test_donsker_varadhan_and_nwj_reach_the_information():
    exact = exact_information(2, 0.6)
    ratios = [log_ratio(*correlated(500, 2, 0.6), 0.6) for _ in range(12)]
    assert np.mean([bounds.donsker_varadhan(r).item() for r in ratios]) == pytest.approx(
        exact, abs=0.04
    )
    assert np.mean([bounds.nwj(1.0 + r).item() for r in ratios]) == pytest.approx(exact, abs=0.04)
    assert bounds.nwj(0.5 * ratios[0]).item() <= bounds.donsker_varadhan(0.5 * ratios[0]).item()


def test_donsker_varadhan_brute_force():
    scores = torch.randn(4, 4, dtype=torch.float64)
    table = scores.numpy()
    others = [table[i, j] for i in range(4) for j in range(4) if i != j]
    expected = np.diag(table).mean() - np.log(np.exp(others).mean())
    assert bounds.donsker_varadhan(scores).item() == pytest.approx(expected, abs=1e-12)


def test_mine_has_the_value_of_donsker_varadhan_and_the_averaged_gradient():
    scores = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    value, running = bounds.mine(scores, torch.tensor(2.0, dtype=torch.float64), decay=0.9)
    assert value.item() == pytest.approx(bounds.donsker_varadhan(scores).item(), abs=1e-12)
    off = ~torch.eye(4, dtype=torch.bool)
    mean = scores.detach()[off].exp().mean()
    assert running.item() == pytest.approx((0.9 * 2 + 0.1 * mean).item(), abs=1e-12)
    (gradient,) = torch.autograd.grad(value, scores)
    torch.testing.assert_close(gradient[off], -scores.detach()[off].exp() / 12 / running)
    torch.testing.assert_close(gradient.diagonal(), torch.full((4,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.elbo(torch.zeros(2), torch.zeros(2), -1.0), "beta"),
        (lambda: bounds.iwae(torch.zeros(0, 3)), "K >= 1"),
        (lambda: bounds.info_nce(torch.zeros(2, 3)), "square"),
        (lambda: bounds.donsker_varadhan(torch.zeros(1, 1)), "at least 2"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
