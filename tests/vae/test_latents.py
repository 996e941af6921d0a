"""Several latents at once: sums of closed forms, bounds of the divergences, and what is refused."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ecmvae.vae.categorical import GumbelCategorical
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latents import LatentSet, active_units, divergence
from ecmvae.vae.priors import StandardNormal

DIMS = {"c": 3, "s_v": 2, "s_a": 4}


def _latents(n: int = 5) -> LatentSet:
    return LatentSet(
        {
            name: DiagonalGaussian(torch.randn(n, dim), torch.randn(n, dim))
            for name, dim in DIMS.items()
        }
    )


def _torchs(latents: LatentSet) -> dict[str, Independent]:
    return {name: Independent(Normal(each.mean, each.std), 1) for name, each in latents.items()}


def test_log_prob_and_kl_are_torchs() -> None:
    torch.manual_seed(0)
    posterior, prior = _latents(), _latents()
    z = posterior.rsample(7)
    assert {name: tuple(value.shape) for name, value in z.items()} == {
        "c": (7, 5, 3),
        "s_v": (7, 5, 2),
        "s_a": (7, 5, 4),
    }
    theirs, theirs_prior = _torchs(posterior), _torchs(prior)
    torch.testing.assert_close(
        posterior.log_prob(z), sum(theirs[name].log_prob(z[name]) for name in z)
    )
    for name, kl in posterior.divergence(prior).items():
        torch.testing.assert_close(kl, kl_divergence(theirs[name], theirs_prior[name]))
        torch.testing.assert_close(posterior.kl_by_dimension(prior)[name].sum(), kl.mean())
    standard = posterior.kl_by_dimension()["c"]
    torch.testing.assert_close(standard, posterior["c"].kl_per_dimension().mean(0))


def test_each_latent_may_have_a_divergence_of_its_own() -> None:
    torch.manual_seed(0)
    posterior, prior = _latents(), _latents()
    values = posterior.divergence(prior, {"c": "geometric_js"})
    torch.testing.assert_close(values["c"], posterior["c"].geometric_js(prior["c"]))
    torch.testing.assert_close(values["s_a"], posterior["s_a"].kl(prior["s_a"]))


def test_the_jensen_shannon_divergences_far_apart() -> None:
    """Jointly it sits at ln 2; by dimension at L ln 2; the geometric one is 1/8 of the squared distance."""
    far, near = (
        DiagonalGaussian(torch.full((1, 4), shift), torch.zeros(1, 4)) for shift in (20.0, 0.0)
    )
    assert divergence(far, near, "js", 100).item() == pytest.approx(math.log(2), abs=1e-6)
    assert divergence(far, near, "dimension_js", 100).item() == pytest.approx(
        4 * math.log(2), abs=1e-5
    )
    assert divergence(far, near, "geometric_js").item() == pytest.approx(4 * 20**2 / 8)


def test_the_divergence_by_dimension_is_that_of_each_dimension_alone() -> None:
    """Against quadrature of one dimension, and L times it for L equal ones."""
    p, q = (
        DiagonalGaussian(torch.zeros(1, 1), torch.zeros(1, 1)),
        DiagonalGaussian(torch.ones(1, 1), torch.ones(1, 1)),
    )
    x = torch.linspace(-25, 25, 200_001, dtype=torch.float64)
    densities = [Normal(each.mean.item(), each.std.item()).log_prob(x) for each in (p, q)]
    mixture = torch.logsumexp(torch.stack(densities), 0) - math.log(2)
    exact = sum(0.5 * torch.trapezoid(d.exp() * (d - mixture), x).item() for d in densities)
    torch.manual_seed(0)
    assert divergence(p, q, "dimension_js", 400_000).item() == pytest.approx(exact, abs=1e-3)
    three = [DiagonalGaussian(each.mean.expand(1, 3), each.logvar.expand(1, 3)) for each in (p, q)]
    assert divergence(*three, "dimension_js", 400_000).item() == pytest.approx(3 * exact, abs=3e-3)


def test_swap_and_placing_take_whole_latents_and_whole_rows() -> None:
    mine, other = _latents(), _latents()
    swapped = mine.swap(other, ["c"])
    assert swapped["c"] is other["c"]
    assert swapped["s_v"] is mine["s_v"]
    known = torch.tensor([True, False, False, True, False])
    seen = LatentSet(
        {
            name: DiagonalGaussian(each.mean[known], each.logvar[known])
            for name, each in mine.items()
        }
    )
    merged = seen.placed_at(known.nonzero().squeeze(1), other)
    for name, each in merged.items():
        assert torch.equal(each.mean[known], mine[name].mean[known])
        assert torch.equal(each.logvar[~known], other[name].logvar[~known])


def test_active_units_are_the_dimensions_that_vary() -> None:
    means = torch.stack([torch.randn(500), torch.zeros(500)], 1)
    posterior = LatentSet({"z": DiagonalGaussian(means, torch.zeros_like(means))})
    assert posterior.active_units()["z"].tolist() == [True, False]
    assert posterior.kl_by_dimension()["z"].tolist() == pytest.approx(
        [0.5 * (means[:, 0] ** 2).mean().item(), 0.0]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LatentSet({}), "at least one latent"),
        (
            lambda: _latents().swap(_latents(), ["s_x"]),
            "unknown latent s_x: choose from c, s_v, s_a",
        ),
        (lambda: _latents().divergence(_latents(), {"d": "kl"}), "unknown latent d"),
        (
            lambda: _latents().divergence(_latents(), "hellinger"),
            "unknown divergence 'hellinger': choose from kl",
        ),
        (
            lambda: _latents().divergence(
                {name: StandardNormal(dim) for name, dim in DIMS.items()}, "geometric_js"
            ),
            "geometric_js is not defined for a DiagonalGaussian and a StandardNormal",
        ),
        (
            lambda: LatentSet({"z": GumbelCategorical(torch.zeros(2, 3, 4))}).rsample(3),
            "not GumbelCategorical",
        ),
        (
            lambda: LatentSet({"z": GumbelCategorical(torch.zeros(2, 3, 4))}).kl_by_dimension(),
            "needs a DiagonalGauss",
        ),
        (lambda: _latents().rsample(0), "num_samples must be at least 1"),
        (lambda: active_units(torch.zeros(1, 3)), "at least 2 samples"),
    ],
)
def test_what_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
