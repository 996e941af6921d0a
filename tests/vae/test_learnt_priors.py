"""Learnt priors against torch.distributions, quadrature and explicit mixtures, and in every score of a VAE."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn.utils import parameters_to_vector

from ecmvae.data.mnist import load_images
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.flow_prior import FlowPrior
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.learnt_priors import GaussianMixturePrior, LearntGaussian, VampPrior
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.linear import LinearVAE
from ecmvae.vae.metrics import bound_report
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.multimodal import MVAE
from ecmvae.vae.priors import PRIORS
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import ModelSettings, build_vae

NAMES = ["gaussian", "mixture", "vamp", "flow"]


def scrambled(prior):
    """The prior with parameters away from their start."""
    generator = torch.Generator().manual_seed(1)
    scale = 0.1 if isinstance(prior, FlowPrior) else 0.4  # a flow's many weights add up
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter))
    return prior


@pytest.fixture(params=NAMES)
def model(request):
    """A VAE of four numbers and two latents under each prior."""
    torch.manual_seed(0)
    prior = PRIORS.get(request.param).for_events(2, (4,))
    model = VAE(
        GaussianHead(4, 2), nn.Linear(2, 4), 2, likelihood=GaussianLikelihood(2.0), prior=prior
    ).double()
    scrambled(model.prior)
    with torch.no_grad():  # posteriors of one width around 0: good proposals that fit on the plane
        model.encoder.logvar.weight.zero_()
        model.encoder.logvar.bias.fill_(0.3)
        model.encoder.mean.weight.mul_(0.5)
    return model.eval()


@pytest.fixture
def plane():
    """A grid of z over the plane (n, 2), and the area of a cell."""
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), (axis[1] - axis[0]).item() ** 2


def test_densities_integrate_to_1_and_samples_have_their_moments(model, plane):
    z, area = plane
    with torch.no_grad():
        density = model.prior.log_prob(z).exp()
        drawn = model.prior.sample(40_000, z, torch.Generator().manual_seed(3))
    assert density.sum().item() * area == pytest.approx(1.0, abs=1e-4)
    mean = (density[:, None] * z).sum(0) * area
    second = (density[:, None] * z.square()).sum(0) * area
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.04)
    torch.testing.assert_close(drawn.square().mean(0), second, rtol=0.05, atol=0.04)
    assert drawn.dtype == torch.float64
    assert torch.equal(
        model.prior.sample(3, z, torch.Generator().manual_seed(3)),
        model.prior.sample(3, z, torch.Generator().manual_seed(3)),
    )


def test_every_score_asks_the_models_prior(model, plane):
    """KL, ELBO, IWAE and the report against sums over the plane."""
    z, area = plane
    x = torch.randn(3, 4, dtype=torch.float64)
    with torch.no_grad():
        posterior = model.encode(x)
        log_q, log_p = posterior.log_prob(z[:, None]), model.prior.log_prob(z)[:, None]
        kl = (log_q.exp() * (log_q - log_p)).sum(0) * area
        scores = model.likelihood.log_prob(model.decode(z)[:, None].expand(-1, 3, -1), x)
        evidence = (scores + log_p).logsumexp(0) + math.log(area)
        elbo = (log_q.exp() * scores).sum(0) * area - kl
        torch.testing.assert_close(model.prior.kl(posterior, 40_000), kl, rtol=0, atol=0.05)
        torch.testing.assert_close(
            model(x.repeat(20_000, 1)).elbo.view(-1, 3).mean(0), elbo, rtol=0, atol=0.1
        )
        torch.testing.assert_close(
            model.log_likelihood(x, num_samples=20_000), evidence, rtol=0, atol=0.05
        )
        report = bound_report(model, x, num_samples=20_000)
    assert report["negative_elbo"] == pytest.approx(-elbo.mean().item(), abs=0.1)
    assert report["kl"] == pytest.approx(kl.mean().item(), abs=0.05)
    assert report["negative_iwae_20000"] == pytest.approx(-evidence.mean().item(), abs=0.05)


def test_the_learnt_gaussian_has_the_closed_form_of_torch():
    prior = scrambled(LearntGaussian(3).double())
    posterior = DiagonalGaussian(*torch.randn(2, 5, 3, dtype=torch.float64))
    expected = torch.distributions.kl_divergence(
        Normal(posterior.mean, posterior.std), Normal(prior.mean, (0.5 * prior.logvar).exp())
    )
    torch.testing.assert_close(prior.kl_terms(posterior), expected)
    torch.testing.assert_close(prior.kl(posterior), expected.sum(1))


def test_the_mixture_is_the_mixture_of_torch():
    prior = scrambled(GaussianMixturePrior(3, components=4).double())
    parts = Independent(Normal(prior.means, (0.5 * prior.logvars).exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=prior.logits), parts)
    z = torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(z), expected.log_prob(z))


def test_the_vamp_prior_is_the_mixture_of_the_pseudo_inputs_posteriors():
    prior = VampPrior(2, (4,), components=3)
    model = VAE(GaussianHead(4, 2), nn.Linear(2, 4), 2, prior=prior)
    z = torch.randn(7, 2)
    experts = [
        DiagonalGaussian(p.mean.expand(7, 2), p.logvar.expand(7, 2))
        for p in map(model.encode, prior.inputs)
    ]
    torch.testing.assert_close(prior.log_prob(z), GaussianMixture.of(experts).log_prob(z))
    prior.log_prob(z).sum().backward()
    assert prior.inputs.grad.abs().min() > 0
    assert model.encoder.mean.weight.grad.abs().min() > 0


def test_the_vamp_prior_shares_the_encoder_without_keeping_it_twice():
    model = VAE(GaussianHead(4, 2), nn.Linear(2, 4), 2, prior=VampPrior(2, (4,), components=3))
    own = {name for name in model.state_dict() if name.startswith("prior.")}
    assert own == {"prior.inputs"}
    assert len(parameters_to_vector(model.parameters())) == 2 * (4 * 2 + 2) + (2 * 4 + 4) + 3 * 4
    twin, z = copy.deepcopy(model), torch.randn(5, 2)
    with torch.no_grad():
        before = model.prior.log_prob(z)
        twin.encoder.mean.bias += 3.0  # the copy's prior follows the copy's encoder, and only that
        assert torch.equal(model.prior.log_prob(z), before)
        assert (twin.prior.log_prob(z) - before).abs().min() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_training_with_a_learnt_prior_beats_the_standard_normal_on_two_far_groups(name):
    """Data in two groups: a prior that learns where codes lie explains it in fewer nats."""
    torch.manual_seed(2)
    x = (
        torch.where(torch.rand(1000, 1) < 0.5, 4.0, -4.0) * torch.ones(4)
        + 0.3 * torch.randn(1000, 4)
        + 2.0
    )
    scores = {}
    for each in ("standard_normal", name):
        torch.manual_seed(0)
        prior = PRIORS.get(each).for_events(2, (4,))
        encoder = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), GaussianHead(16, 2))
        likelihood = GaussianLikelihood(0.09)
        model = VAE(encoder, nn.Linear(2, 4, bias=False), 2, likelihood=likelihood, prior=prior)
        fit(
            model,
            {"x": x},
            FitSettings(epochs=25, learning_rate=1e-2, device="cpu"),
            progress=False,
        )
        scores[each] = bound_report(model, x[:300], num_samples=100)["negative_iwae_100"]
    assert scores[name] < scores["standard_normal"] - 0.3


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_names_a_prior_and_its_weights_come_back(name):
    settings = ModelSettings(prior=name, latent_dim=3, hidden=8)
    model, again = build_vae(settings, (1, 8, 8)), build_vae(settings, (1, 8, 8))
    scrambled(model.prior)
    again.load_state_dict(model.state_dict())
    z = torch.randn(4, 3)
    assert torch.equal(again.prior.log_prob(z), model.prior.log_prob(z))
    model(torch.rand(2, 1, 8, 8)).loss.backward()
    assert all(p.grad is not None for p in model.prior.parameters())
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_free_bits_keep_latents_in_use_and_leave_the_elbo_a_bound():
    x, used = load_images("digits").train_images[:500], {}
    for nats in (0.0, 0.5):
        torch.manual_seed(0)
        model = mlp_vae((1, 8, 8), 32, 8, beta=6.0)
        model.free_bits = nats
        fit(
            model,
            {"x": x},
            FitSettings(epochs=15, learning_rate=3e-3, device="cpu"),
            progress=False,
        )
        kl = model.encode(x).kl_per_dimension().mean(0)
        used[nats] = int((kl > 0.3).sum())
        output = model(x, "mean")
        expected = 6.0 * kl.clamp_min(nats).sum() - output.log_likelihood.mean()
        torch.testing.assert_close(output.loss, expected)
        torch.testing.assert_close(output.elbo, output.log_likelihood - model.encode(x).kl())
    assert used[0.5] >= used[0.0] + 3


def test_free_bits_of_a_prior_without_dimensions_are_one_floor_for_all():
    model = VAE(GaussianHead(4, 2), nn.Linear(2, 4), 2, prior=FlowPrior(2), free_bits=100.0)
    x = torch.rand(3, 4)
    output = model(x)
    assert output.loss.item() == pytest.approx(
        200.0 - output.log_likelihood.mean().item(), rel=1e-5
    )
    assert output.kl.mean().item() < 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VampPrior(2, (4,)).log_prob(torch.zeros(1, 2)), "give it to VAE"),
        (
            lambda: MVAE({"a": nn.Identity()}, {"a": nn.Identity()}, 2, prior=VampPrior(2, (4,))),
            "one encoder",
        ),
        (lambda: build_vae(ModelSettings(name="mopoe", prior="vamp"), (1, 8, 8)), "one encoder"),
        (
            lambda: build_vae(ModelSettings(name="mixture_vae", prior="vamp"), (1, 8, 8)),
            "one encoder",
        ),
        (lambda: FlowPrior(1), "at least 2, got 1"),
        (lambda: FlowPrior(2, layers=0), "layers must be at least 1"),
        (lambda: GaussianMixturePrior(2, components=0), "components must be at least 1"),
        (lambda: VampPrior(2, (4,), components=0), "components must be at least 1"),
        (
            lambda: mlp_vae((4,), 4, 2).__class__(nn.Identity(), nn.Identity(), 2, free_bits=-1.0),
            "free bits must be",
        ),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_linear_vae_takes_a_vamp_prior():
    model = LinearVAE(4, 2, VampPrior(2, (4,), components=3))
    assert torch.isfinite(model(torch.randn(5, 4)).loss)
