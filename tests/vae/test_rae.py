"""RAE: its loss by hand, and its gradient penalty against autograd's whole Jacobian."""

import pytest
import torch
from torch import nn

from ecmvae.vae.latent_samplers import fit_gaussian_mixture
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.rae import RAE, squared_jacobian


def rae(**options):
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 6))
    return RAE(nn.Linear(6, 2), decoder, likelihood=GaussianLikelihood(0.5), **options)


def test_the_l2_loss_by_hand():
    model, x = rae(code_weight=0.3, decoder_weight=0.01), torch.randn(4, 6)
    output = model(x)
    codes = 0.5 * model.encode(x).square().sum(1).mean()
    weights = sum(each.square().sum() for each in model.decoder.parameters())
    expected = -output.log_likelihood.mean() + 0.3 * codes + 0.01 * weights
    torch.testing.assert_close(output.loss, expected)


def test_the_gradient_penalty_estimates_the_jacobians_norm():
    model, code = (
        rae(regulariser="gradient").double(),
        torch.randn(3, 2, dtype=torch.float64, requires_grad=True),
    )
    exact = [
        torch.autograd.functional.jacobian(model.decoder, each[None]).square().sum().item()
        for each in code
    ]
    decoded = model.decoder(code)
    draws = torch.stack(
        [squared_jacobian(decoded, code, torch.randn_like(decoded)) for _ in range(4000)]
    )
    error = 5 * draws.std(0) / 4000**0.5
    assert ((draws.mean(0) - torch.tensor(exact)).abs() < error).all()


def test_the_gradient_penalty_reaches_the_decoder_and_works_without_gradients():
    model, x = rae(regulariser="gradient", decoder_weight=1.0), torch.randn(4, 6)
    penalty = model(x).penalties["decoder_gradient"].value
    assert torch.autograd.grad(penalty, model.decoder[0].weight)[0].abs().sum() > 0
    with torch.no_grad():
        assert model.eval()(x).loss.item() > 0


def test_the_regulariser_makes_the_decoder_smoother():
    x, slopes = torch.randn(200, 6), {}
    for weight in (0.0, 1.0):
        model = rae(regulariser="gradient", decoder_weight=weight)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            model(x).loss.backward()
            optimizer.step()
        slopes[weight] = model(x).named()["decoder_gradient"].item()
    assert slopes[1.0] < 0.7 * slopes[0.0]


def test_samples_need_a_density_fitted_to_the_codes():
    model, x = rae(), torch.randn(50, 6)
    with pytest.raises(ValueError, match="fit one to its codes"):
        model.sample(3)
    model.prior = fit_gaussian_mixture(model.encode(x).detach(), components=2)
    assert model.sample(3).shape == (3, 6)


@pytest.mark.parametrize(
    "options", [{"code_weight": -1.0}, {"decoder_weight": -1.0}, {"regulariser": "none"}]
)
def test_bad_settings_are_refused(options):
    with pytest.raises(ValueError, match=r"must be >= 0|choose from l2, gradient"):
        rae(**options)
