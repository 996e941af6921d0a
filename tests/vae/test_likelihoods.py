"""Likelihoods against scipy and hand values."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from ecmvae.vae.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticGaussianLikelihood,
)


def test_bernoulli_against_the_formula():
    x, logits = (
        torch.rand(3, 1, 2, 2, dtype=torch.float64),
        torch.randn(3, 1, 2, 2, dtype=torch.float64),
    )
    p = special.expit(logits.numpy())
    expected = (x.numpy() * np.log(p) + (1 - x.numpy()) * np.log(1 - p)).sum((1, 2, 3))
    np.testing.assert_allclose(
        BernoulliLikelihood().log_prob(logits, x).numpy(), expected, atol=1e-12
    )


def test_bernoulli_stays_finite_for_sure_logits():
    logits, x = torch.tensor([[500.0, -500.0]]), torch.tensor([[0.0, 1.0]])
    assert BernoulliLikelihood().log_prob(logits, x).item() == -1000.0


def test_gaussian_known_answer_and_scipy(known):
    case = known("latent_ops")["gaussian_nll"]
    likelihood = GaussianLikelihood(case["c"])
    x, f = (
        torch.tensor([case["x"]], dtype=torch.float64),
        torch.tensor([case["f"]], dtype=torch.float64),
    )
    assert -likelihood.log_prob(f, x).item() == pytest.approx(case["value_with_constant"], abs=1e-9)
    constant = 0.5 * x.numel() * math.log(2 * math.pi * case["c"])
    assert -likelihood.log_prob(f, x).item() - constant == pytest.approx(
        case["value_sse_over_2c"], abs=1e-9
    )
    images, means = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    expected = stats.norm(means.numpy(), math.sqrt(case["c"])).logpdf(images.numpy()).sum((1, 2))
    np.testing.assert_allclose(likelihood.log_prob(means, images).numpy(), expected, atol=1e-10)


def test_heteroscedastic_gaussian_against_scipy():
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    parameters = torch.randn(4, 2, 3, 5, dtype=torch.float64)
    mean, logvar = parameters[:, 0].numpy(), parameters[:, 1].numpy()
    expected = stats.norm(mean, np.exp(logvar / 2)).logpdf(x.numpy()).sum((1, 2))
    likelihood = HeteroscedasticGaussianLikelihood()
    np.testing.assert_allclose(likelihood.log_prob(parameters, x).numpy(), expected, atol=1e-10)
    assert torch.equal(likelihood.mean(parameters), parameters[:, 0])


def test_categorical_is_cross_entropy():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
    expected = -torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    one_hot = torch.nn.functional.one_hot(labels, 4).float()
    torch.testing.assert_close(CategoricalLikelihood().log_prob(logits, one_hot), expected)


@pytest.mark.parametrize(
    ("likelihood", "parameters", "x"),
    [
        (BernoulliLikelihood(), (7, 3, 1, 2, 2), (3, 1, 2, 2)),
        (GaussianLikelihood(0.5), (7, 3, 4), (3, 4)),
        (HeteroscedasticGaussianLikelihood(), (7, 3, 2, 4), (3, 4)),
        (CategoricalLikelihood(), (7, 3, 4), (3, 4)),
    ],
)
def test_leading_samples_score_one_by_one(likelihood, parameters, x):
    decoded, data = torch.randn(parameters), torch.rand(x)
    together = likelihood.log_prob(decoded, data)
    assert together.shape == (7, 3)
    torch.testing.assert_close(
        together, torch.stack([likelihood.log_prob(row, data) for row in decoded])
    )


def test_samples_have_the_mean():
    logits = torch.tensor([[-1.0, 0.5, 2.0]]).expand(40_000, 3)
    for likelihood in (BernoulliLikelihood(), GaussianLikelihood(0.5), CategoricalLikelihood()):
        drawn = likelihood.sample(logits).mean(0)
        torch.testing.assert_close(drawn, likelihood.mean(logits)[0], rtol=0, atol=0.02)
    parameters = torch.stack([logits, torch.full_like(logits, -1.0)], 1)
    drawn = HeteroscedasticGaussianLikelihood().sample(parameters)
    torch.testing.assert_close(drawn.std(0), torch.full((3,), math.exp(-0.5)), rtol=0.03, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: BernoulliLikelihood().check(torch.tensor([[0.0, 255.0]])),
            "divide 8-bit images by 255",
        ),
        (lambda: BernoulliLikelihood().check(torch.tensor([[-0.1, 0.5]])), r"\[0, 1\]"),
        (lambda: BernoulliLikelihood().check(torch.tensor([[math.nan, 0.5]])), r"\[0, 1\]"),
        (lambda: GaussianLikelihood().check(torch.tensor([[math.nan]])), "NaN"),
        (lambda: HeteroscedasticGaussianLikelihood().check(torch.tensor([[math.inf]])), "infinity"),
        (lambda: CategoricalLikelihood().check(torch.tensor([[0.5, 0.5]])), "one_hot"),
        (lambda: CategoricalLikelihood().check(torch.tensor([[1.0, 1.0]])), "one_hot"),
        (
            lambda: BernoulliLikelihood().log_prob(torch.zeros(2, 784), torch.zeros(2, 1, 28, 28)),
            "does not match",
        ),
        (lambda: GaussianLikelihood(0.0), "variance"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
