"""The KL's three parts against the exact aggregate posterior of a small data set, by quadrature."""

import math

import pytest
import torch

from ecmvae.vae.beta_tc_vae import BetaTCVAE, kl_parts, log_aggregate
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.priors import StandardNormal


@pytest.fixture
def posterior():
    """Eight posteriors over two latents that depend on each other."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(8, 1, generator=generator, dtype=torch.float64)
    second = 0.8 * first + 0.4 * torch.randn(8, 1, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(
        torch.cat([first, second], 1), torch.full((8, 2), -1.5, dtype=torch.float64)
    )


def parts_by_quadrature(posterior):
    """Mutual information, total correlation and dimension-wise KL on a grid over the plane."""
    axis = torch.linspace(-6, 6, 481, dtype=torch.float64)
    cell = (axis[1] - axis[0]).item()
    z = torch.cartesian_prod(axis, axis)
    each = posterior.log_prob(z[:, None])  # (grid, 8)
    density = each.exp().mean(1)
    table = density.view(481, 481)
    product = ((table.sum(1) * cell)[:, None] * (table.sum(0) * cell)[None]).flatten()
    prior = StandardNormal(2).log_prob(z)
    information = (each.exp() * (each - density.log()[:, None])).sum(0).mean().item() * cell**2
    correlation = (density * (density / product).log()).sum().item() * cell**2
    dimensions = (density * (product.log() - prior)).sum().item() * cell**2
    return information, correlation, dimensions


def test_parts_are_those_of_the_exact_aggregate_posterior(posterior):
    expected = parts_by_quadrature(posterior)
    assert sum(expected) == pytest.approx(posterior.kl().mean().item(), abs=1e-6)  # eq. 2
    torch.manual_seed(1)
    found = [kl_parts(posterior, StandardNormal(2), posterior.rsample()) for _ in range(1000)]
    for name, value in zip(
        ("mutual_information", "total_correlation", "dimension_wise_kl"), expected, strict=True
    ):
        draws = torch.stack([getattr(each, name).mean() for each in found])
        assert draws.mean().item() == pytest.approx(
            value, abs=5 * draws.std().item() / math.sqrt(1000)
        )


def test_stratified_weights_give_the_density_without_bias(posterior):
    """Batches of three of eight, the own sample among them: the mean of the estimates is q(z)."""
    z = torch.tensor([0.3, -0.2], dtype=torch.float64)
    exact = posterior.log_prob(z).exp().mean().item()
    log_probs = posterior.log_prob(z)
    estimates = []
    for own in range(8):  # the own sample is each of them in turn
        others = [index for index in range(8) if index != own]
        for a in others:
            for b in others:
                if a < b:
                    table = log_probs[[own, a, b]].expand(3, 3)
                    estimates.append(log_aggregate(table, 8)[0].exp().item())
    assert sum(estimates) / len(estimates) == pytest.approx(exact, rel=1e-9)


def test_weighted_sampling_is_the_papers_formula(posterior):
    z = posterior.rsample()
    table = posterior.log_prob(z[:, None])
    expected = [
        math.log(sum(math.exp(each) for each in row) / (1000 * 8)) for row in table.tolist()
    ]
    assert log_aggregate(table, 1000, "weighted").tolist() == pytest.approx(expected, abs=1e-9)


def test_the_loss_weighs_the_parts():
    torch.manual_seed(0)
    parts = mlp_vae((6,), 8, 3)
    model = BetaTCVAE(
        parts.encoder, parts.decoder, 3, tc_weight=6.0, information_weight=0.5, dataset_size=100
    )
    output = model(torch.rand(20, 6))
    found = kl_parts(output.posterior, model.prior, output.z, 100)
    expected = -output.elbo - 0.5 * found.mutual_information + 5.0 * found.total_correlation
    torch.testing.assert_close(output.loss, expected.mean())
    torch.testing.assert_close(output.named()["dimension_wise_kl"], found.dimension_wise_kl.mean())
    plain = BetaTCVAE(parts.encoder, parts.decoder, 3, tc_weight=1.0)
    output = plain(torch.rand(20, 6))
    torch.testing.assert_close(output.loss, -output.elbo.mean())


def test_a_heavy_weight_makes_latents_less_dependent():
    torch.manual_seed(0)
    a, b = torch.randn(2, 200, 1)
    x = torch.sigmoid(1.5 * torch.cat([a + b, a - 0.4 * b, 0.5 * a + b, b], 1))
    correlations = {}
    for weight in (1.0, 30.0):
        torch.manual_seed(3)
        parts = mlp_vae((4,), 16, 2)
        model = BetaTCVAE(
            parts.encoder,
            parts.decoder,
            2,
            tc_weight=weight,
            dataset_size=200,
            likelihood=GaussianLikelihood(0.01),
        )
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            model(x).loss.backward()
            optimizer.step()
        output = model(x)
        correlations[weight] = (
            kl_parts(output.posterior, model.prior, output.z).total_correlation.mean().item()
        )
    assert 0 < correlations[30.0] < 0.6 * correlations[1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: log_aggregate(torch.zeros(1, 1)), "at least 2"),
        (lambda p: log_aggregate(torch.zeros(3, 3), 2), "no smaller"),
        (lambda p: BetaTCVAE(p, p, 2, tc_weight=-1.0), "must be >= 0"),
        (lambda p: BetaTCVAE(p, p, 2, sampling="none"), "choose from stratified, weighted"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.nn.Identity())
