"""Priors: the standard normal against its closed forms, and priors of a user against quadrature and exact log p(x)."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ecmvae.errors import UserError
from ecmvae.vae.categorical import GumbelCategorical
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.fully_connected import mlp_categorical_vae, mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.linear import LinearVAE
from ecmvae.vae.metrics import bound_report
from ecmvae.vae.mixture_vae import MixtureVAE
from ecmvae.vae.mixtures import GaussianMixture, MixtureHead
from ecmvae.vae.multimodal import MMJSD
from ecmvae.vae.priors import Prior, StandardNormal, UniformCategorical
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import ModelSettings, build_vae

MEANS, STDS, WEIGHTS = (-2.0, 3.0), (0.5, 0.8), (0.3, 0.7)


class TwoHumps(Prior):
    """A user's prior: the same mixture of two normal distributions in every dimension, without a closed-form KL."""

    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.means = nn.Parameter(torch.tensor(MEANS, dtype=torch.float64))

    def log_prob(self, z):
        humps = torch.distributions.Normal(
            self.means.to(z.dtype), torch.tensor(STDS, dtype=z.dtype)
        )
        weights = torch.tensor(WEIGHTS, dtype=z.dtype).log()
        return torch.logsumexp(humps.log_prob(z.unsqueeze(-1)) + weights, -1).sum(-1)

    def sample(self, count, like, generator=None):
        shape = (count, self.latent_dim)
        first = torch.rand(shape, generator=generator) < WEIGHTS[0]
        noise = torch.randn(shape, generator=generator)
        drawn = torch.where(first, MEANS[0] + STDS[0] * noise, MEANS[1] + STDS[1] * noise)
        return drawn.to(like)


def linear_vae(prior, variance=0.4):
    """One latent and a linear decoder: under `TwoHumps` log p(x) is that of a mixture of two Gaussians."""
    torch.manual_seed(3)
    model = VAE(
        GaussianHead(2, 1), nn.Linear(1, 2), 1, likelihood=GaussianLikelihood(variance), prior=prior
    ).double()
    with torch.no_grad():
        model.decoder.weight.copy_(torch.tensor([[1.0], [-0.5]]))
        model.encoder.mean.weight.copy_(torch.tensor([[0.8, -0.4]]))  # roughly the true posterior
        model.encoder.logvar.weight.zero_()
    return model


def exact_log_prob(model, x, variance=0.4):
    weight, bias = model.decoder.weight.detach(), model.decoder.bias.detach()
    humps = [
        torch.distributions.MultivariateNormal(
            weight[:, 0] * mean + bias,
            std**2 * weight @ weight.T + variance * torch.eye(2, dtype=torch.float64),
        ).log_prob(x)
        + math.log(share)
        for mean, std, share in zip(MEANS, STDS, WEIGHTS, strict=True)
    ]
    return torch.logsumexp(torch.stack(humps), 0)


def quadrature_kl(posterior, prior):
    """KL of (n, 1) Gaussians by the trapezoid rule."""
    z = torch.linspace(-15, 15, 6001, dtype=torch.float64)[:, None, None].expand(
        -1, len(posterior.mean), 1
    )
    log_q = posterior.log_prob(z)
    return torch.trapezoid(log_q.exp() * (log_q - prior.log_prob(z)), z[:, 0, 0], dim=0)


def test_the_standard_normal_is_the_default_and_changes_nothing():
    model, x = mlp_vae((6,), 8, 2), torch.rand(3, 6)
    torch.testing.assert_close(model(x, "mean").kl, model.encode(x).kl(), rtol=0, atol=0)
    assert not [name for name in model.state_dict() if "prior" in name]
    drawn = model.sample(4, torch.Generator().manual_seed(1))
    noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, model.likelihood.mean(model.decode(noise)))


def test_kl_without_a_closed_form_reaches_quadrature():
    prior = TwoHumps(1)
    posterior = DiagonalGaussian(
        *torch.tensor([[[0.3], [-2.0], [4.0]], [[0.1], [-1.5], [0.5]]], dtype=torch.float64)
    )
    with torch.no_grad():
        expected = quadrature_kl(posterior, prior)
        torch.testing.assert_close(prior.kl(posterior, 100_000), expected, rtol=0, atol=0.03)
        mixture = GaussianMixture.of([posterior, posterior])  # the same distribution, as a mixture
        torch.testing.assert_close(prior.kl(mixture, 50_000), expected, rtol=0, atol=0.03)


def test_a_users_prior_is_trained_scored_and_sampled_right():
    model = linear_vae(TwoHumps(1)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        x = (
            model.decode(model.prior.sample(400, model.decoder.weight))
            + 0.4**0.5 * torch.randn(400, 2).double()
        )
        posterior, exact = model.encode(x), exact_log_prob(model, x)
        kl = quadrature_kl(posterior, model.prior)
        report = bound_report(model, x, num_samples=400)
        output = model(x.repeat(100, 1)).kl.mean()
        estimate = model.log_likelihood(x, num_samples=2000)
        drawn = model.sample(40_000)
    assert report["kl"] == pytest.approx(kl.mean().item(), abs=0.05)
    assert output.item() == pytest.approx(kl.mean().item(), abs=0.1)
    assert posterior.kl().mean() > kl.mean() + 1  # the KL to N(0, I) would be found out
    spread = (model.decoder.weight.square().sum() * posterior.variance[:, 0]).detach()
    reconstruction = model.likelihood.log_prob(model.decode(posterior.mean), x) - spread / (2 * 0.4)
    assert report["reconstruction"] == pytest.approx(-reconstruction.mean().item(), abs=0.2)
    torch.testing.assert_close(estimate.mean(), exact.mean(), rtol=0, atol=0.1)
    assert report["negative_iwae_400"] == pytest.approx(-exact.mean().item(), abs=0.3)
    mean = sum(share * m for share, m in zip(WEIGHTS, MEANS, strict=True))
    torch.testing.assert_close(
        drawn.mean(0), model.decode(torch.tensor([[mean]]).double())[0].detach(), rtol=0, atol=0.05
    )
    model.train()(x).loss.backward()
    assert model.prior.means.grad.abs().min() > 0


def test_a_mixture_posterior_is_held_against_the_models_prior():
    model = MixtureVAE(
        MixtureHead(2, 1, 2), nn.Linear(1, 2), 1, prior=TwoHumps(1), likelihood=GaussianLikelihood()
    )
    model, x = model.double(), torch.randn(5, 2).double()
    with torch.no_grad():
        elbo = model(x.repeat(4000, 1)).elbo.view(4000, 5).mean(0)
        torch.testing.assert_close(
            elbo, model.log_weights(x, num_samples=10_000).mean(0), rtol=0.02, atol=0.15
        )


def test_a_linear_vae_scores_against_its_prior():
    model, x = LinearVAE(2, 1, TwoHumps(1)).double(), torch.randn(5, 2).double()
    with torch.no_grad():
        estimate = model(x.repeat(4000, 1)).kl.view(4000, 5).mean(0)
        torch.testing.assert_close(
            estimate, quadrature_kl(model.encode(x), model.prior), rtol=0, atol=0.15
        )


@pytest.mark.parametrize("kind", ["mvae", "jmvae", "mmvae", "mopoe", "dmvae", "mmvae_plus"])
def test_a_multimodal_bound_and_its_importance_weights_have_one_prior(kind):
    """The mean of the joint ELBO's samples is that of the log-weights; both read the model's prior."""
    torch.manual_seed(0)
    model = build_vae(ModelSettings(name=kind, latent_dim=1, hidden=4), (1, 2, 2)).double()
    data = {"image": torch.rand(3, 1, 2, 2).double(), "label": torch.eye(10)[:3].double()}
    many = {name: x.repeat(4000, *[1] * (x.ndim - 1)) for name, x in data.items()}
    with torch.no_grad():
        near = model(many).kl.view(4000, 3).mean(0)
        model.prior = TwoHumps(1)
        output, weights = model(many), model.log_weights(data, num_samples=4000).mean(0)
    elbo, far = output.elbo.view(4000, 3).mean(0), output.kl.view(4000, 3).mean(0)
    assert (far > near + 0.5).all()
    if kind == "mopoe":  # its KL is an upper bound
        assert (elbo < weights + 0.2).all()
    elif kind != "mmvae_plus":  # its cross-modal terms draw the private latents elsewhere
        torch.testing.assert_close(elbo, weights, rtol=0.02, atol=0.25)


def test_a_prior_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_priors.py").write_text(
        "import torch\nfrom torch import nn\nfrom ecmvae.vae.gaussian import DiagonalGaussian\n"
        "from ecmvae.vae.priors import Prior\n\n"
        "class Wide(Prior):\n"
        "    def __init__(self, latent_dim):\n"
        "        super().__init__(latent_dim)\n"
        "        self.logvar = nn.Parameter(torch.full((latent_dim,), 2.0))\n"
        "    def own(self, z):\n"
        "        return DiagonalGaussian(torch.zeros_like(z), self.logvar.expand_as(z))\n"
        "    def log_prob(self, z):\n"
        "        return self.own(z).log_prob(z)\n"
        "    def sample(self, count, like, generator=None):\n"
        "        return self.own(like.new_zeros(count, self.latent_dim)).rsample(generator=generator)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = build_vae(ModelSettings(prior="outside_priors:Wide", latent_dim=3), (1, 8, 8))
    assert "prior.logvar" in model.state_dict()
    model(torch.rand(2, 1, 8, 8)).loss.backward()
    assert model.prior.logvar.grad.abs().sum() > 0
    with pytest.raises(UserError, match="unknown prior 'standard': choose from standard_normal"):
        build_vae(ModelSettings(prior="standard"), (1, 8, 8))
    with pytest.raises(ValueError, match="prior has no effect on mmjsd"):
        build_vae(ModelSettings(name="mmjsd", prior="outside_priors:Wide"), (1, 8, 8))


def test_categorical_latents_are_drawn_from_the_uniform_categorical():
    model = mlp_categorical_vae((6,), 8, 3, 4)
    drawn = model.prior.sample(20_000, torch.empty(0)).unflatten(-1, (3, 4))
    assert torch.equal(drawn.sum(-1), torch.ones(20_000, 3))
    torch.testing.assert_close(drawn.mean(0), torch.full((3, 4), 0.25), rtol=0, atol=0.02)
    assert model.prior.log_prob(drawn[:1].flatten(1)).item() == pytest.approx(-3 * math.log(4))
    posterior = model.encoder(torch.rand(2, 6))
    torch.testing.assert_close(model(torch.rand(2, 6)).kl >= 0, torch.tensor([True, True]))
    torch.testing.assert_close(model.prior.kl(posterior), posterior.kl())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: VAE(GaussianHead(2, 1), nn.Linear(1, 2), 1, prior=TwoHumps(2)),
            "over 2 latents, the model has 1",
        ),
        (lambda: StandardNormal(0), "at least 1"),
        (
            lambda: StandardNormal(4).kl(GumbelCategorical(torch.zeros(1, 2, 2))),
            "prior=UniformCategorical",
        ),
        (
            lambda: TwoHumps(4).kl(GumbelCategorical(torch.zeros(1, 2, 2))),
            "posterior with a density",
        ),
        (
            lambda: UniformCategorical(2, 2).kl(
                DiagonalGaussian(torch.zeros(1, 4), torch.zeros(1, 4))
            ),
            "categorical",
        ),
        (
            lambda: MMJSD({"a": nn.Identity()}, {"a": nn.Identity()}, 1, prior=TwoHumps(1)),
            "standard normal prior",
        ),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
