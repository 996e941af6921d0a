"""Divergences against sums, quadrature and known answers."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ecmvae.vae import divergences
from ecmvae.vae.gaussian import DiagonalGaussian


def of(mean, logvar):
    return DiagonalGaussian(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(logvar, dtype=torch.float64)
    )


def test_discrete_kl_and_js_against_scipy():
    p, q = torch.rand(2, 6, 5, dtype=torch.float64).softmax(-1)
    expected = stats.entropy(p.numpy(), q.numpy(), axis=1)
    np.testing.assert_allclose(divergences.discrete_kl(p, q).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        divergences.discrete_js(p, q).numpy(),
        jensenshannon(p.numpy(), q.numpy(), axis=1) ** 2,
        atol=1e-12,
    )


def test_discrete_kl_edges():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    assert divergences.discrete_kl(p, q).item() == math.inf
    assert divergences.discrete_kl(q, p).item() == pytest.approx(math.log(2))
    assert divergences.discrete_kl(p, p).item() == 0.0
    assert divergences.discrete_js(q, torch.tensor([0.0, 0.0, 1.0])).item() == pytest.approx(
        math.log(2)
    )
    with pytest.raises(ValueError, match="normalise"):
        divergences.discrete_kl(torch.tensor([0.5, 0.4]), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dual_geometric_js_is_minus_log_of_the_affinity(alpha):
    p, q = of([-2.0], [math.log(0.5)]), of([1.0], [math.log(3.0)])
    x = np.linspace(-60, 60, 400_001)
    log_p, log_q = stats.norm(-2, 0.5**0.5).logpdf(x), stats.norm(1, 3**0.5).logpdf(x)
    affinity = np.trapezoid(np.exp((1 - alpha) * log_p + alpha * log_q), x)
    assert divergences.dual_geometric_js(p, q, alpha).item() == pytest.approx(
        -math.log(affinity), abs=1e-8
    )


def test_deasy_geometric_js_ends_at_the_two_kls():
    p, q = of([-2.0, 0.0], [-0.7, 0.1]), of([1.0, 0.3], [1.1, -0.5])
    assert divergences.deasy_geometric_js(p, q, 0.0).item() == pytest.approx(
        p.kl(q).item(), abs=1e-12
    )
    assert divergences.deasy_geometric_js(p, q, 1.0).item() == pytest.approx(
        q.kl(p).item(), abs=1e-12
    )
    halfway = divergences.deasy_geometric_js(p, q, 0.5)
    torch.testing.assert_close(halfway, p.geometric_js(q, 0.5))


def test_mmjsd_known_answers(known):
    for case in known("poe_mopoe_mmjsd")["mmjsd"]:
        experts = [
            of(mean, logvar) for mean, logvar in zip(case["mus"], case["logvars"], strict=True)
        ]
        prior = divergences.dynamic_prior(experts, case["weights"])
        assert prior.mean.tolist() == pytest.approx(case["dynamic_prior_mu"], abs=1e-10)
        assert prior.variance.tolist() == pytest.approx(case["dynamic_prior_var"], abs=1e-10)
        divergence = divergences.mmjsd(experts, case["weights"])
        assert divergence.item() == pytest.approx(case["mmjsd_divergence"], abs=1e-10)


def test_mmjsd_weights_may_differ_by_sample():
    experts = [DiagonalGaussian(*torch.randn(2, 2, 3, dtype=torch.float64)) for _ in range(2)]
    weights = torch.tensor([[0.5, 1 / 3], [0.0, 1 / 3], [0.5, 1 / 3]], dtype=torch.float64)
    first = divergences.mmjsd([DiagonalGaussian(e.mean[0], e.logvar[0]) for e in experts[:1]])
    second = divergences.mmjsd([DiagonalGaussian(e.mean[1], e.logvar[1]) for e in experts])
    torch.testing.assert_close(divergences.mmjsd(experts, weights), torch.stack([first, second]))


def test_no_experts():
    with pytest.raises(ValueError, match="non-empty"):
        divergences.mmjsd([])


def test_free_bits_is_the_sum_of_the_larger_of_the_batch_mean_and_the_floor():
    kl = torch.tensor([[0.1, 2.0, 0.6], [0.3, 4.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = divergences.free_bits(kl, 0.25)
    # batch means .2, 3 and .3
    assert value.tolist() == pytest.approx([0.25 + 2.0 + 0.6, 0.25 + 4.0 + 0.0])
    assert value.mean().item() == pytest.approx(0.25 + 3.0 + 0.3)
    (gradient,) = torch.autograd.grad(value.sum(), kl)
    assert gradient.tolist() == [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    frames = kl.detach().reshape(1, 2, 3)
    torch.testing.assert_close(divergences.free_bits(frames, 0.25), value.detach()[None])
    torch.testing.assert_close(divergences.free_bits(kl, 0.0), kl.sum(-1))
    with pytest.raises(ValueError, match="free bits must be >= 0"):
        divergences.free_bits(kl, -1.0)


def test_balanced_kl_splits_the_gradient_between_posterior_and_prior():
    leaves = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    q, p = DiagonalGaussian(leaves[0], leaves[1]), DiagonalGaussian(leaves[2], leaves[3])
    torch.testing.assert_close(divergences.balanced_kl(q, p, 0.8), q.kl(p))
    (balanced,) = torch.autograd.grad(divergences.balanced_kl(q, p, 0.8).sum(), leaves)
    (plain,) = torch.autograd.grad(q.kl(p).sum(), leaves)
    torch.testing.assert_close(balanced[:2], 0.2 * plain[:2])
    torch.testing.assert_close(balanced[2:], 0.8 * plain[2:])
    torch.testing.assert_close(
        divergences.balanced_kl_per_dimension(q, p, 0.3), q.kl_per_dimension(p)
    )
    with pytest.raises(ValueError, match="between 0 and 1"):
        divergences.balanced_kl(q, p, 1.2)
