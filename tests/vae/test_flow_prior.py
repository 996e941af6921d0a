"""The flow against its inverse, autograd's Jacobian and a density that it learns."""

import pytest
import torch

from ecmvae.vae.flow_prior import AffineCoupling, FlowPrior


@pytest.fixture(params=[2, 5])
def flow(request):
    """A flow of two or five latents with random weights."""
    torch.manual_seed(0)
    flow = FlowPrior(request.param, layers=3, hidden=8).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return flow.requires_grad_(False)


def test_a_new_flow_is_the_standard_normal():
    z = torch.randn(6, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(FlowPrior(3).log_prob(z), expected)


def test_inverse_of_forward_is_the_identity(flow):
    u = torch.randn(4, 7, flow.latent_dim, dtype=torch.float64)
    z, log_det = flow(u)
    back, inverse_log_det = flow.inverse(z)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(inverse_log_det, -log_det)
    assert (z - u).abs().amax(-1).min() > 1e-3


def test_log_determinants_are_those_of_autograds_jacobian(flow):
    for u in torch.randn(3, flow.latent_dim, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda point: flow(point)[0], u)
        torch.testing.assert_close(flow(u)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_every_latent_is_changed_by_two_layers():
    for dim in (2, 3):
        touched = torch.zeros(dim, dtype=torch.bool)
        for first in (True, False):
            layer = AffineCoupling(dim, 4, first=first)
            torch.nn.init.ones_(layer.network[-1].bias)
            touched |= layer(torch.zeros(dim))[0] != 0
        assert touched.all()


def test_learns_a_banana():
    """Maximum likelihood reaches the entropy of z = (a, b + a^2), which no Gaussian does."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 4000)
    z = torch.stack([a, 0.5 * b + a.square()], 1)
    flow = FlowPrior(2)
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(300):
        optimizer.zero_grad()
        (-flow.log_prob(z[torch.randint(4000, (500,))]).mean()).backward()
        optimizer.step()
    entropy = torch.distributions.Normal(0.0, torch.tensor([1.0, 0.5])).entropy().sum().item()
    gaussian = torch.distributions.MultivariateNormal(z.mean(0), z.T.cov()).entropy().item()
    assert entropy - 0.05 < -flow.log_prob(z).mean().item() < entropy + 0.15 < gaussian
