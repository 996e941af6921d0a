"""VAEs against their definition and against a model whose log p(x) is known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.encoders import ConvEncoder, GaussianHead, MLPEncoder
from ecmvae.vae.fully_connected import mlp_conditional_vae, mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.vae import VAE, ConditionalVAE, LabelConditioned


def one_hot(labels, count=10):
    return torch.nn.functional.one_hot(torch.tensor(labels), count).float()


def test_stochastic_by_default_and_repeatable_at_the_mean():
    model, x = mlp_vae((6,), 8, 2), torch.rand(3, 6)
    assert not torch.equal(model(x).parameters, model(x).parameters)
    assert torch.equal(model(x, "mean").parameters, model(x, "mean").parameters)
    assert torch.equal(model(x, "mean").z, model.encode(x).mean)


def test_loss_by_hand():
    model, x = mlp_vae((6,), 8, 2, beta=3.0), torch.rand(4, 6)
    output = model(x)
    p = torch.sigmoid(output.parameters)
    reconstruction = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    mean, logvar = output.posterior.mean, output.posterior.logvar
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum(1)
    torch.testing.assert_close(output.loss, (-reconstruction + 3.0 * kl).mean())
    torch.testing.assert_close(output.elbo, reconstruction - kl)


def test_loss_is_linear_in_beta_with_the_kl_as_its_slope():
    model, x, losses = mlp_vae((6,), 8, 2), torch.rand(4, 6), []
    for beta in (0.0, 1.0, 4.0):
        model.beta = beta
        output = model(x, "mean")
        losses.append(output.loss.item())
    kl = output.kl.mean().item()
    assert losses[1] - losses[0] == pytest.approx(kl, rel=1e-4)
    assert losses[2] - losses[1] == pytest.approx(3 * kl, rel=1e-4)


def test_larger_beta_lowers_the_kl_after_training():
    x = (torch.rand(200, 12) < torch.rand(200, 1)).float()
    kls = []
    for beta in (1.0, 6.0):
        torch.manual_seed(0)
        model = mlp_vae((12,), 16, 2, beta=beta)
        optimizer = torch.optim.Adam(model.parameters(), 2e-2)
        for _ in range(120):
            optimizer.zero_grad()
            model(x).loss.backward()
            optimizer.step()
        kls.append(model(x).kl.mean().item())
    assert kls[1] < 0.5 * kls[0]


def linear_vae(dim=5, latent=2, variance=0.4):
    """A VAE whose decoder is linear: p(x) = N(b, W W^T + variance I)."""
    encoder = nn.Sequential(MLPEncoder(dim, (8,)), GaussianHead(8, latent))
    model = VAE(
        encoder, nn.Linear(latent, dim), latent, likelihood=GaussianLikelihood(variance)
    ).double()
    weight, bias = model.decoder.weight.detach().numpy(), model.decoder.bias.detach().numpy()
    exact = stats.multivariate_normal(bias, weight @ weight.T + variance * np.eye(dim))
    return model, exact


def test_log_likelihood_estimate_reaches_the_exact_one_from_below():
    model, exact = linear_vae()
    x = torch.randn(3, 5, dtype=torch.float64)
    log_p = torch.from_numpy(exact.logpdf(x.numpy()))
    with torch.no_grad():
        torch.testing.assert_close(
            model.log_likelihood(x, num_samples=20_000), log_p, rtol=0, atol=0.03
        )
        elbos = model.log_weights(x, num_samples=2000).mean(0)
        bounds = torch.stack([model.log_likelihood(x, num_samples=10) for _ in range(200)]).mean(0)
    assert (elbos < bounds).all()
    assert (bounds < log_p).all()


def test_samples_have_the_models_mean():
    model, exact = linear_vae()
    with torch.no_grad():
        drawn = model.sample(20_000)
    np.testing.assert_allclose(drawn.mean(0).numpy(), exact.mean, atol=0.03)
    assert torch.equal(*(model.sample(3, torch.Generator().manual_seed(1)) for _ in range(2)))


def test_a_draw_of_x_has_the_models_covariance_and_its_mean_has_not():
    """Step 3 of ancestral sampling adds the likelihood's own variance."""
    model, exact = linear_vae()
    with torch.no_grad():
        drawn = model.sample(40_000, torch.Generator().manual_seed(2), draw=True)
        means = model.sample(40_000, torch.Generator().manual_seed(2))
        again = model.sample(40_000, torch.Generator().manual_seed(2), draw=True)
    np.testing.assert_allclose(drawn.T.cov().numpy(), exact.cov, atol=0.05)
    np.testing.assert_allclose((drawn - means).T.cov().numpy(), 0.4 * np.eye(5), atol=0.02)
    assert torch.equal(drawn, again)


def test_pixels_drawn_by_a_bernoulli_likelihood_are_black_or_white():
    model, y = mlp_vae((6,), 8, 2), one_hot([0, 1], 3)
    assert set(model.sample(9, draw=True).unique().tolist()) <= {0.0, 1.0}
    conditional = mlp_conditional_vae((6,), 3, 8, 2)
    assert set(conditional.sample(y, draw=True).unique().tolist()) <= {0.0, 1.0}


def test_any_encoder_that_ends_in_mean_and_logvar_fits():
    class Encoder(nn.Module):
        def forward(self, x):
            return x[:, :2], x[:, 2:4] - 0.5

    model, x = VAE(Encoder(), nn.Linear(2, 6), 2), torch.rand(3, 6)
    expected = DiagonalGaussian(x[:, :2], x[:, 2:4] - 0.5).kl()
    torch.testing.assert_close(model(x).kl, expected)


def test_ordinary_images_through_convolutions():
    encoder = ConvEncoder(3, (4, 8), 16)
    model = VAE(
        nn.Sequential(encoder, GaussianHead(encoder.out_features, 2)),
        MLPDecoder(2, (8,), (3, 16, 16)),
        2,
    )
    x = torch.rand(4, 3, 16, 16)
    assert model.reconstruct(x).shape == x.shape
    with pytest.raises(ValueError, match="one sample"):
        model(x[:1])
    model.eval()
    assert torch.isfinite(model(x[:1]).loss)


def test_conditional_without_a_condition_is_the_vae():
    torch.manual_seed(1)
    conditional = mlp_conditional_vae((6,), 3, 8, 2)
    plain = VAE(conditional.encoder.module, conditional.decoder.module, 2)
    x, y = torch.rand(4, 6), torch.zeros(4, 3)

    class Padded(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, value):
            return self.module(torch.cat([value, torch.zeros(len(value), 3)], 1))

    plain.encoder, plain.decoder = Padded(plain.encoder), Padded(plain.decoder)
    torch.testing.assert_close(conditional(x, y, "mean").elbo, plain(x, "mean").elbo)


def test_conditional_decode_and_encode_see_the_class():
    model, x, z = mlp_conditional_vae((6,), 3, 8, 2), torch.rand(2, 6), torch.randn(2, 2)
    zeros, ones = one_hot([0, 0], 3), one_hot([1, 1], 3)
    assert not torch.allclose(model.decode(z, zeros), model.decode(z, ones))
    assert not torch.allclose(model.encode(x, zeros).mean, model.encode(x, ones).mean)


def test_conditional_prior_may_learn_from_the_condition():
    posterior = LabelConditioned(nn.Sequential(MLPEncoder(9, (8,)), GaussianHead(8, 2)))
    prior = nn.Sequential(MLPEncoder(3, (8,)), GaussianHead(8, 2))
    model = ConditionalVAE(posterior, LabelConditioned(nn.Linear(5, 6)), 2, prior=prior)
    x, y = torch.rand(4, 6), one_hot([0, 1, 2, 0], 3)
    output = model(x, y)
    torch.testing.assert_close(output.kl, model.encode(x, y).kl(model.prior(y)))
    elbos = torch.stack([model(x, y).elbo for _ in range(200)]).mean(0)
    torch.testing.assert_close(
        model.log_weights(x, y, num_samples=2000).mean(0), elbos, rtol=0, atol=0.3
    )
    assert model.sample(y).shape == (4, 6)


def test_kl_balance_gives_the_prior_its_share_of_the_gradient():
    posterior = LabelConditioned(nn.Sequential(MLPEncoder(9, (8,)), GaussianHead(8, 2)))
    prior = nn.Sequential(MLPEncoder(3, (8,)), GaussianHead(8, 2))
    model = ConditionalVAE(posterior, LabelConditioned(nn.Linear(5, 6)), 2, prior=prior)
    x, y, found = torch.rand(4, 6), one_hot([0, 1, 2, 0], 3), {}
    for model.kl_balance in (None, 0.8):
        loss = model(x, y, "mean").loss
        found[model.kl_balance] = loss.item(), torch.autograd.grad(loss, prior[1].mean.weight)[0]
    assert found[0.8][0] == pytest.approx(found[None][0], rel=1e-6)
    torch.testing.assert_close(found[0.8][1], 0.8 * found[None][1])


def test_divergences_and_free_bits_meet_latent_by_latent():
    """A latent under another divergence keeps it; only those under the KL get free bits."""
    model, x = mlp_vae((6,), 8, 2), torch.rand(4, 6)
    model.free_bits = 50.0
    assert model(x).loss.item() > 100
    model.divergences = {"z": "geometric_js"}
    # the prior is not a DiagonalGaussian
    with pytest.raises(ValueError, match="geometric_js is not defined"):
        model(x)


def test_posterior_equal_to_prior_gives_zero_kl():
    def same(*_):
        return torch.zeros(2, 3), torch.zeros(2, 3)

    class Same(nn.Module):
        forward = same

    model = VAE(Same(), nn.Linear(3, 4), 3)
    assert model(torch.rand(2, 4)).kl.abs().max().item() == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlp_vae((4,), 8, 2, beta=-1.0), "beta"),
        (
            lambda: ConditionalVAE(nn.Identity(), nn.Identity(), 2, kl_balance=0.8),
            "no effect on the standard normal",
        ),
        (
            lambda: ConditionalVAE(
                nn.Identity(), nn.Identity(), 2, prior=nn.Identity(), kl_balance=2.0
            ),
            "share",
        ),
        (lambda: mlp_vae((4,), 8, 2)(torch.full((2, 4), 1.5)), "divide 8-bit"),
        (lambda: mlp_vae((4,), 8, 2)(torch.full((2, 4), math.nan)), r"\[0, 1\]"),
        (lambda: mlp_vae((4,), 8, 2)(torch.rand(2, 5)), "expected 4 numbers"),
        (lambda: mlp_vae((4,), 8, 2).log_likelihood(torch.rand(2, 4), num_samples=0), "at least 1"),
        (lambda: mlp_vae((4,), 8, 2).sample(0), "at least 1"),
        (
            lambda: mlp_conditional_vae((4,), 3, 8, 2)(torch.rand(2, 4), torch.zeros(3, 3)),
            "one condition",
        ),
        (lambda: mlp_conditional_vae((4,), 3, 8, 2, beta=-1.0), "beta"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
