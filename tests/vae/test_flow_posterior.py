"""Posteriors under a flow against autograd's Jacobian, quadrature and importance sampling."""

import pytest
import torch
from torch import nn

from ecmvae.vae.autoregressive import AutoregressiveLayer, InverseAutoregressiveFlow
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.flow_posterior import FlowHead, FlowPosterior
from ecmvae.vae.flow_prior import FlowPrior
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.priors import StandardNormal, UniformCategorical
from ecmvae.vae.vae import VAE


def bent(flow):
    """The flow with parameters away from the identity, in float64."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.08 * torch.randn(parameter.shape, generator=generator))
    return flow.double()


@pytest.fixture(params=["autoregressive", "coupling"])
def flow(request):
    torch.manual_seed(0)
    maker = InverseAutoregressiveFlow if request.param == "autoregressive" else FlowPrior
    return bent(maker(3, 2, 16))


def test_log_determinants_are_those_of_autograds_jacobian(flow):
    u = torch.randn(4, 3, dtype=torch.float64)
    _, log_det = flow(u)
    for point, found in zip(u, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], point)
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(found.item(), abs=1e-9)


def test_inverse_of_forward_is_the_identity(flow):
    u = torch.randn(5, 2, 3, dtype=torch.float64)
    z, there = flow(u)
    back, here = flow.inverse(z)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(here, -there)
    assert (z - u).abs().max() > 0.01


def test_a_layer_looks_only_at_the_latents_before():
    layer = bent(AutoregressiveLayer(4, 16))
    jacobian = torch.autograd.functional.jacobian(
        lambda u: layer(u[None])[0][0], torch.randn(4, dtype=torch.float64)
    )
    assert torch.equal(jacobian.triu(1), torch.zeros(4, 4, dtype=torch.float64))
    assert (jacobian.tril(-1)[1:].abs().amax(1) > 0).all()


def test_a_new_flow_is_the_identity():
    u = torch.randn(2, 5, 4)
    z, log_det = InverseAutoregressiveFlow(4, layers=2)(u)
    assert torch.equal(z, u)
    assert not log_det.any()


def test_the_density_integrates_to_1_and_draws_carry_their_own():
    base = DiagonalGaussian(torch.tensor([0.3, -0.5]).double(), torch.tensor([-0.5, 0.2]).double())
    q = FlowPosterior(base, bent(InverseAutoregressiveFlow(2, 2, 16)))
    axis = torch.linspace(-14, 14, 561, dtype=torch.float64)
    with torch.no_grad():
        density = q.log_prob(torch.cartesian_prod(axis, axis)).exp()
        z, log_prob = q.rsample_with_log_prob(1000)
        torch.testing.assert_close(q.log_prob(z), log_prob)
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1.0, abs=1e-6)


def test_the_kl_is_that_of_quadrature():
    base = DiagonalGaussian(
        torch.tensor([[0.3, -0.5]]).double(), torch.tensor([[-0.5, 0.2]]).double()
    )
    q = FlowPosterior(base, bent(InverseAutoregressiveFlow(2, 2, 16)))
    axis = torch.linspace(-14, 14, 561, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_q = q.log_prob(grid[:, None])[:, 0]
        exact = (log_q.exp() * (log_q - StandardNormal(2).log_prob(grid))).sum() * (
            axis[1] - axis[0]
        ) ** 2
        assert StandardNormal(2).kl(q, 40_000).item() == pytest.approx(exact.item(), abs=0.03)


@pytest.mark.parametrize("flow_of", [InverseAutoregressiveFlow, FlowPrior])
def test_a_vae_with_a_flow_comes_nearer_to_a_posterior_that_is_no_diagonal_gaussian(flow_of):
    """A linear decoder makes the exact posterior correlated: the flow closes a part of the gap to log p(x)."""
    weight, variance = torch.tensor([[1.0, 0.9], [0.9, 1.0], [1.0, -0.2]]), 0.1
    exact = torch.distributions.MultivariateNormal(
        torch.zeros(3), weight @ weight.T + variance * torch.eye(3)
    )
    torch.manual_seed(0)
    x, gaps = exact.sample((100,)), {}
    for name, head in (
        ("gaussian", GaussianHead(16, 2)),
        ("flow", FlowHead(16, 2, flow_of(2, 2, 16))),
    ):
        torch.manual_seed(1)
        decoder = nn.Linear(2, 3, bias=False)
        decoder.weight = nn.Parameter(weight.clone(), requires_grad=False)
        encoder = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), head)
        model = VAE(encoder, decoder, 2, likelihood=GaussianLikelihood(variance))
        optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            model(x).loss.backward()
            optimizer.step()
        with torch.no_grad():
            gaps[name] = (exact.log_prob(x) - model.elbo(x, num_samples=50)).mean().item()
            estimate = model.log_likelihood(x, num_samples=300).mean().item()
        assert estimate == pytest.approx(exact.log_prob(x).mean().item(), abs=0.05)
    assert 0 < gaps["flow"] < 0.75 * gaps["gaussian"]


def test_bad_input_says_what_to_do():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        InverseAutoregressiveFlow(1)
    q = FlowHead(4, 2, InverseAutoregressiveFlow(2))(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="categorical posterior"):
        UniformCategorical(1, 2).kl(q)
