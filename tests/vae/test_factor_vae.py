"""FactorVAE: the discriminator against a known total correlation, and whose gradient goes where."""

import math

import pytest
import torch

from ecmvae.vae.factor_vae import Discriminator, FactorVAE, permute_dimensions
from ecmvae.vae.fully_connected import mlp_vae


@pytest.fixture
def model():
    torch.manual_seed(0)
    parts = mlp_vae((6,), 8, 2)
    return FactorVAE(parts.encoder, parts.decoder, 2, tc_weight=4.0, hidden=16)


def test_the_loss_by_hand(model):
    x = torch.rand(9, 6)
    output = model(x)
    named = output.named()
    expected = (
        -output.elbo.mean() + 4.0 * model.discriminator(output.z).mean() + named["discriminator"]
    )
    torch.testing.assert_close(output.loss, expected)
    validation = model.eval()(x, "mean")
    assert set(validation.penalties) == {"total_correlation"}


def test_each_gradient_reaches_its_own_part_only(model):
    penalties = model(torch.rand(9, 6)).penalties
    own = list(model.discriminator.parameters())
    encoder = list(model.encoder.parameters())
    correlation, discriminator = (
        penalties[name].value for name in ("total_correlation", "discriminator")
    )
    assert all(
        g is None
        for g in torch.autograd.grad(correlation, own, allow_unused=True, retain_graph=True)
    )
    assert all(g is not None for g in torch.autograd.grad(correlation, encoder, retain_graph=True))
    assert all(
        g is None
        for g in torch.autograd.grad(discriminator, encoder, allow_unused=True, retain_graph=True)
    )
    assert all(g is not None for g in torch.autograd.grad(discriminator, own))


def test_the_density_ratio_is_the_total_correlation_of_a_gaussian(model):
    """TC of two standard normals of correlation r is -1/2 log(1 - r^2)."""
    torch.manual_seed(2)
    model.discriminator = Discriminator(2, 32, layers=2)
    optimizer = torch.optim.Adam(model.discriminator.parameters(), 5e-3)

    def draw(count):
        a, b = torch.randn(2, count, 1)
        return torch.cat([a, 0.8 * a + 0.6 * b], 1)

    for _ in range(600):
        z = draw(1000)
        loss = model.discriminator_loss(z, permute_dimensions(z))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.total_correlation(draw(20_000)).item() == pytest.approx(
        -0.5 * math.log(1 - 0.64), abs=0.08
    )
    assert loss.item() < math.log(2)


def test_shuffling_keeps_every_marginal_and_breaks_dependence():
    z = torch.arange(200.0)[:, None].repeat(1, 3)
    shuffled = permute_dimensions(z)
    assert torch.equal(shuffled.sort(0).values, z)
    assert abs(torch.corrcoef(shuffled.T)[0, 1]) < 0.3


def test_a_discriminator_that_knows_nothing_costs_ln_2(model):
    for parameter in model.discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    z = torch.randn(5, 2)
    assert model.discriminator_loss(z, z).item() == pytest.approx(math.log(2))
    assert model.total_correlation(z).item() == 0.0


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="tc_weight must be >= 0"):
        FactorVAE(torch.nn.Identity(), torch.nn.Identity(), 2, tc_weight=-1.0)
