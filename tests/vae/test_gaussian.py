"""DiagonalGaussian and its products against closed forms, quadrature, torch.distributions and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Normal, kl_divergence

from ecmvae.vae import gaussian
from ecmvae.vae.gaussian import DiagonalGaussian, geometric_mean, product_of_experts


def of(mean, logvar):
    return DiagonalGaussian(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(logvar, dtype=torch.float64)
    )


def random_pair(*shape):
    return [DiagonalGaussian(*torch.randn(2, *shape, dtype=torch.float64)) for _ in range(2)]


def test_kl_known_answers(known):
    for case in known("kl_gaussian")["cases"]:
        q, p = of(case["mu_q"], case["logvar_q"]), of(case["mu_p"], case["logvar_p"])
        assert q.kl(p).item() == pytest.approx(case["kl_qp"], abs=1e-10)
        assert p.kl(q).item() == pytest.approx(case["kl_pq"], abs=1e-10)
        assert q.kl().item() == pytest.approx(case["kl_q_std"], abs=1e-10)


def test_kl_hand_values(known):
    for case in known("kl_gaussian")["hand_to_standard_normal"]:
        assert of(case["mu"], case["logvar"]).kl().item() == pytest.approx(case["kl"], abs=1e-12)


def test_kl_is_least_at_unit_variance():
    # The well-known demo code sigma^2 + mu^2 - log sigma - 1/2 is least at sigma^2 = 1/2.
    logvar = torch.zeros(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(DiagonalGaussian(torch.zeros(1), logvar).kl(), logvar)
    assert gradient.item() == 0.0


def test_kl_is_asymmetric_non_negative_and_per_dimension():
    q, p = random_pair(50, 4)
    assert (q.kl(p) > 0).all()
    assert not torch.allclose(q.kl(p), p.kl(q))
    torch.testing.assert_close(q.kl_per_dimension(p).sum(-1), q.kl(p))
    torch.testing.assert_close(q.kl(q), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-12)


def test_log_prob_entropy_and_kl_against_torch():
    q, p = random_pair(7, 3)
    q_torch, p_torch = (Independent(Normal(g.mean, g.std), 1) for g in (q, p))
    z = torch.randn(5, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), q_torch.log_prob(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(q.entropy(), q_torch.entropy(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(q.kl(p), kl_divergence(q_torch, p_torch), rtol=1e-10, atol=1e-10)


def test_log_prob_against_scipy(known):
    reference = known("mog_nonlinear_manifold")["gaussian_pdf"]
    standard = of([0.0], [0.0])
    for x, pdf in zip(
        reference["x"], reference["pdf"] if "pdf" in reference else reference["std"], strict=True
    ):
        assert standard.log_prob(
            torch.tensor([float(x)], dtype=torch.float64)
        ).exp().item() == pytest.approx(pdf, abs=1e-12)
    q, _ = random_pair(4)
    expected = stats.multivariate_normal(q.mean.numpy(), np.diag(q.variance.numpy())).logpdf(
        np.ones(4)
    )
    assert q.log_prob(torch.ones(4, dtype=torch.float64)).item() == pytest.approx(
        expected, abs=1e-10
    )


def test_reparameterised_sample_known_answers(known, monkeypatch):
    case = known("latent_ops")["reparam"]
    noise = torch.tensor(case["eps"], dtype=torch.float64)
    monkeypatch.setattr(gaussian.torch, "randn", lambda *_, **__: noise)
    mean = torch.tensor(case["mu"], dtype=torch.float64, requires_grad=True)
    logvar = torch.tensor(case["logvar"], dtype=torch.float64, requires_grad=True)
    z = DiagonalGaussian(mean, logvar).rsample(len(noise))
    torch.testing.assert_close(
        z.detach(), torch.tensor(case["z"], dtype=torch.float64), rtol=0, atol=1e-12
    )
    for row in range(len(noise)):
        to_mean, to_logvar = torch.autograd.grad(z[row].sum(), (mean, logvar), retain_graph=True)
        torch.testing.assert_close(to_mean, torch.ones_like(mean))
        expected = torch.tensor(case["grad_logvar_values"][row], dtype=torch.float64)
        torch.testing.assert_close(to_logvar, expected, rtol=0, atol=1e-12)


def test_samples_have_the_moments():
    q = of([1.0, -2.0], [0.5, -1.0])
    z = q.rsample(200_000)
    torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=4 * 1.3 / math.sqrt(200_000))
    torch.testing.assert_close(z.var(0), q.variance, rtol=0.02, atol=0)


def test_a_generator_repeats_the_draw():
    q, _ = random_pair(3)
    draws = [q.rsample(generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)


# ---------------------------------------------------------------------------------------------- Jensen-Shannon


def js_by_quadrature(mean_p, var_p, mean_q, var_q):
    x = np.linspace(-60, 60, 400_001)
    p, q = stats.norm(mean_p, var_p**0.5).pdf(x), stats.norm(mean_q, var_q**0.5).pdf(x)
    mixture = 0.5 * (p + q)
    tiny = 1e-300  # below it the ratio is made of denormals and the product is nothing
    halves = [
        np.where(d > tiny, d * np.log(np.maximum(d, tiny) / np.maximum(mixture, tiny)), 0)
        for d in (p, q)
    ]
    return np.trapezoid(0.5 * sum(halves), x)


@pytest.mark.parametrize("numbers", [(0, 1, 1, 1), (0, 1, 0, 4), (0, 1, 5, 0.25), (-2, 0.5, 1, 3)])
def test_js_is_within_four_standard_errors_of_quadrature(numbers):
    mean_p, var_p, mean_q, var_q = numbers
    p = of([[float(mean_p)]] * 400, [[math.log(var_p)]] * 400)
    q = of([[float(mean_q)]] * 400, [[math.log(var_q)]] * 400)
    estimates = p.js(q, 500)
    standard_error = estimates.std().item() / 20
    assert estimates.mean().item() == pytest.approx(
        js_by_quadrature(*numbers), abs=4 * standard_error
    )
    assert (estimates <= math.log(2)).all()


def test_js_of_equal_is_zero_and_of_distant_is_log_two():
    q, _ = random_pair(6, 16)
    assert q.js(q, 3).abs().max().item() == 0.0
    far = DiagonalGaussian(q.mean + 1000.0, q.logvar)
    torch.testing.assert_close(q.js(far, 3), torch.full((6,), math.log(2), dtype=torch.float64))


def test_js_is_joint_over_dimensions():
    # Summed over dimensions, 32 clearly different ones would give 32 ln 2.
    p, q = of([0.0] * 32, [0.0] * 32), of([9.0] * 32, [0.0] * 32)
    assert p.js(q, 10).item() == pytest.approx(math.log(2), abs=1e-6)


def test_js_gradient_sees_the_means():
    # The estimate that takes each density at its own independent sample has no gradient in the means.
    mean = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    p, q = DiagonalGaussian(mean, torch.zeros_like(mean)), of([0.0], [0.0])
    (gradient,) = torch.autograd.grad(p.js(q, 20_000), mean)
    step = 1e-3
    slope = (js_by_quadrature(1 + step, 1, 0, 1) - js_by_quadrature(1 - step, 1, 0, 1)) / (2 * step)
    assert gradient.item() == pytest.approx(slope, abs=0.02)


def geometric_js_by_quadrature(numbers, alpha):
    mean_p, var_p, mean_q, var_q = numbers
    x = np.linspace(-60, 60, 400_001)
    log_p, log_q = (
        stats.norm(mean_p, var_p**0.5).logpdf(x),
        stats.norm(mean_q, var_q**0.5).logpdf(x),
    )
    log_g = (1 - alpha) * log_p + alpha * log_q
    log_g -= np.log(np.trapezoid(np.exp(log_g), x))
    kl = [np.trapezoid(np.exp(log) * (log - log_g), x) for log in (log_p, log_q)]
    return (1 - alpha) * kl[0] + alpha * kl[1]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_geometric_js_against_quadrature(alpha):
    cases = [(0, 1, 1, 1), (-2, 0.5, 1, 3)]
    total = sum(geometric_js_by_quadrature(case, alpha) for case in cases)
    p = of([case[0] for case in cases], [math.log(case[1]) for case in cases])
    q = of([case[2] for case in cases], [math.log(case[3]) for case in cases])
    assert p.geometric_js(q, alpha).item() == pytest.approx(total, abs=1e-8)
    if alpha in (0.0, 1.0):
        assert p.geometric_js(q, alpha).item() == 0.0


# --------------------------------------------------------------------------------------------------- products


def test_product_of_experts_known_answers(known):
    for case in known("poe_mopoe_mmjsd")["poe"]:
        experts = [
            of(mean, logvar) for mean, logvar in zip(case["mus"], case["logvars"], strict=True)
        ]
        for key, include_prior in (("poe_with_std_prior", True), ("poe_no_prior", False)):
            product = product_of_experts(experts, include_prior)
            expected = case[key]
            assert product.mean.tolist() == pytest.approx(expected["mu"], abs=1e-10)
            assert product.variance.tolist() == pytest.approx(expected["var"], abs=1e-10)
        official = case["official_eps_formula"]
        assert product_of_experts(experts).logvar.tolist() == pytest.approx(
            official["logvar"], abs=1e-6
        )
        weighted = case["weighted_geometric"]
        standard = of([0.0] * case["dim"], [0.0] * case["dim"])
        mean = geometric_mean([standard, *experts], weighted["weights_prior_first"])
        assert mean.mean.tolist() == pytest.approx(weighted["mu"], abs=1e-10)
        assert mean.variance.tolist() == pytest.approx(weighted["var"], abs=1e-10)


def test_one_expert_without_prior_is_itself():
    q, _ = random_pair(3, 2)
    product = product_of_experts([q], include_prior=False)
    torch.testing.assert_close(product.mean, q.mean)
    torch.testing.assert_close(product.logvar, q.logvar)


def test_missing_experts_are_left_out_whatever_they_hold():
    q, p = random_pair(3, 2)
    broken = DiagonalGaussian(
        torch.full_like(p.mean, math.nan), torch.full_like(p.logvar, math.inf)
    )
    mask = torch.tensor([[True] * 3, [False] * 3])
    product, alone = product_of_experts([q, broken], mask=mask), product_of_experts([q])
    torch.testing.assert_close(product.mean, alone.mean)
    torch.testing.assert_close(product.logvar, alone.logvar)
    nothing = product_of_experts([q, p], mask=torch.zeros(2, 3, dtype=torch.bool))
    torch.testing.assert_close(nothing.kl(), torch.zeros(3, dtype=torch.float64))


def test_mask_is_per_sample():
    q, p = random_pair(2, 2)
    product = product_of_experts([q, p], mask=torch.tensor([[True, False], [True, True]]))
    both = product_of_experts([q, p])
    second = product_of_experts([p])
    torch.testing.assert_close(product.mean, torch.stack([both.mean[0], second.mean[1]]))


@pytest.mark.parametrize("logvar", [-30.0, 30.0])
@pytest.mark.parametrize("other", [-30.0, 0.0, 30.0])
def test_gradients_are_finite_at_the_limits(logvar, other):
    leaves = [
        torch.randn(4, 3),
        torch.full((4, 3), logvar),
        torch.randn(4, 3),
        torch.full((4, 3), other),
    ]
    for leaf in leaves:
        leaf.requires_grad_()
    p, q = DiagonalGaussian(*leaves[:2]), DiagonalGaussian(*leaves[2:])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    values = [
        p.js(q, 8),
        p.kl(q),
        p.geometric_js(q, 0.3),
        p.geometric_js(q, 0.0),
        product_of_experts([p, q], mask=mask).kl(),
    ]
    for value in values:
        assert torch.isfinite(value).all()
        for gradient in torch.autograd.grad(value.sum(), leaves, retain_graph=True):
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept_and_halves_do_not_overflow(dtype):
    p, q = (
        DiagonalGaussian(torch.randn(3, 4).to(dtype), torch.randn(3, 4).to(dtype)) for _ in range(2)
    )
    for value in (
        p.rsample(),
        p.std,
        p.variance,
        p.log_prob(q.mean),
        p.kl(),
        p.kl(q),
        p.js(q, 5),
        p.geometric_js(q),
    ):
        assert value.dtype == dtype
    assert product_of_experts([p, q]).logvar.dtype == dtype
    exact = DiagonalGaussian(p.mean.double(), p.logvar.double())
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 1e-2}.get(dtype, 1e-6)
    torch.testing.assert_close(p.kl().double(), exact.kl(), rtol=tolerance, atol=tolerance)
    # exp(12) overflows float16: only a promoted exp gives the product's finite precision
    wide = DiagonalGaussian(torch.zeros(1).to(dtype), torch.full((1,), -12.0).to(dtype))
    assert product_of_experts([wide]).logvar.item() == pytest.approx(-12.0, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 4)), "one shape"),
        (lambda q: DiagonalGaussian(torch.zeros(2), torch.zeros(2).double()), "dtype"),
        (lambda q: q.rsample(0), "at least 1"),
        (lambda q: q.js(q, 0), "at least 1"),
        (lambda q: q.geometric_js(q, 1.5), "sum to 1"),
        (lambda q: geometric_mean([q, q], [0.5, 0.4]), "sum to 1"),
        (lambda q: product_of_experts([]), "at least one expert"),
        (lambda q: product_of_experts([q], mask=torch.ones(2, 3, dtype=torch.bool)), "2 rows"),
        (
            lambda q: product_of_experts([q], False, torch.zeros(1, 3, dtype=torch.bool)),
            "no expert",
        ),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_pair(3, 2)[0])
