"""MMVAE, MoPoE and mmJSD: their objectives written out, and known answers of the subset posteriors."""

import pytest
import torch
from torch import nn

from ecmvae.vae.divergences import mmjsd
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.multimodal import MMJSD, MMVAE, MoPoE
from ecmvae.vae.multimodal.mixture import dreg


class Fixed(nn.Module):
    """An encoder that always answers with the same distribution."""

    def __init__(self, mean, logvar):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("logvar", torch.tensor(logvar, dtype=torch.float64))

    def forward(self, x):
        shape = (len(x), len(self.mean))
        return DiagonalGaussian(self.mean.expand(shape), self.logvar.expand(shape))


@pytest.mark.parametrize(
    ("prior_expert", "subsets", "bound"),
    [
        ("every", "subsets", "kl_upper_bound_mean_over_subsets"),
        ("full", "subsets_official_prior_only_in_full_set", "kl_bound_official"),
    ],
)
def test_mopoe_known_answers(known, prior_expert, subsets, bound):
    case = known("poe_mopoe_mmjsd")["mopoe"]
    names = ["a", "b", "c"]
    encoders = {n: Fixed(m, v) for n, m, v in zip(names, case["mus"], case["logvars"], strict=True)}
    decoders = {name: nn.Linear(2, 1).double() for name in names}
    model = MoPoE(encoders, decoders, 2, prior_expert=prior_expert)
    posterior = model.joint({name: torch.zeros(1, 1, dtype=torch.float64) for name in names})
    found = {
        (round(m[0, 0].item(), 8), round(v[0, 0].item(), 8))
        for m, v in zip(posterior.components.mean, posterior.components.variance, strict=True)
    }
    assert found == {(round(s["mu"][0], 8), round(s["var"][0], 8)) for s in case[subsets]}
    assert posterior.average(posterior.components.kl()).item() == pytest.approx(
        case[bound], abs=1e-10
    )
    sampled = torch.stack([posterior.kl(num_samples=20_000) for _ in range(3)]).mean().item()
    assert sampled < case[bound]


@pytest.mark.parametrize(
    ("kind", "options", "two", "three"),
    [
        (MMVAE, {}, 3.0, 2.0),
        (MMJSD, {}, 3.0, 2.0),
        (MoPoE, {}, 2.25, 12 / 7),
        (MoPoE, {"prior_expert": "full"}, 3.0, 12 / 7),
    ],
)
def test_what_generate_decodes_by_hand(kind, options, two, three):
    """Experts N(1, 1), N(4, 1/2) and N(1, 1/3): precisions 1, 2 and 3, to which a prior adds 1."""
    means, precisions, names = [1.0, 4.0, 1.0], torch.tensor([1.0, 2.0, 3.0]), ["a", "b", "c"]
    encoders = {
        n: Fixed([m], [-p.log().item()]) for n, m, p in zip(names, means, precisions, strict=True)
    }
    model = kind(encoders, {name: nn.Linear(1, 1).double() for name in names}, 1, **options)
    x = torch.zeros(2, 1, dtype=torch.float64)
    batch = model.prepare(dict.fromkeys(names, x), {"c": torch.tensor([False, True])})
    assert model.united_of(batch).mode[:, 0].tolist() == pytest.approx([two, three])
    subset = model.prepare({"a": x, "b": x})
    assert model.united_of(subset).mode[:, 0].tolist() == pytest.approx([two, two])


def test_mmvae_is_the_stratified_bound_written_out(make, world, monkeypatch):
    model, data = make(MMVAE, num_samples=4, beta=0.5, weights={"sight": 2.0}), world.sample(3)
    noise = torch.randn(4, 2, 3, 3)
    monkeypatch.setattr(DiagonalGaussian, "rsample", lambda self, *_: self.mean + self.std * noise)
    experts = [model.encoders[name](x) for name, x in data.items()]
    total = 0
    for index, expert in enumerate(experts):
        weights = []
        for k in range(4):
            z = expert.mean + expert.std * noise[k, index]
            density = torch.stack([e.log_prob(z) for e in experts]).logsumexp(0) - torch.log(
                torch.tensor(2.0)
            )
            prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
            scores = {
                n: model.likelihood(n).log_prob(model.decoders[n](z), x) for n, x in data.items()
            }
            weights.append(scores["sound"] + 2.0 * scores["sight"] + 0.5 * (prior - density))
        total = (
            total + 0.5 * (torch.stack(weights).logsumexp(0) - torch.log(torch.tensor(4.0))).mean()
        )
    torch.testing.assert_close(model(data).loss, -total, rtol=1e-4, atol=1e-3)


def test_dreg_has_the_value_of_iwae_and_less_noise(make, world):
    data, gradients = {"sound": world.sample(16)["sound"]}, {}  # one modality: there it is unbiased
    torch.manual_seed(0)
    model = make(MMVAE, num_samples=10)
    torch.manual_seed(4)
    plain = model(data).loss
    model.gradient = "dreg"
    torch.manual_seed(4)
    torch.testing.assert_close(model(data).loss, plain)
    parameter = model.encoders["sound"][1].mean.weight
    for model.gradient in ("iwae", "dreg"):
        torch.manual_seed(9)
        draws = [torch.autograd.grad(model(data).loss, parameter)[0] for _ in range(150)]
        gradients[model.gradient] = torch.stack(draws)
    means = {name: g.mean(0) for name, g in gradients.items()}
    standard_error = (sum(g.var(0) for g in gradients.values()) / 150).sqrt()
    assert ((means["iwae"] - means["dreg"]).abs() < 6 * standard_error + 1e-3).all()
    assert gradients["dreg"].var(0).mean() < gradients["iwae"].var(0).mean()


def test_dreg_gradient_by_hand():
    # z = m + e with q's own density held fixed: the path gradient is weighed by the squared normalised weights.
    mean = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    noise = torch.randn(5, 1, dtype=torch.float64)
    z = mean + noise
    log_weights = -(z[:, 0] ** 2) + 0.5 * (z[:, 0] - mean.detach()) ** 2
    shares = log_weights.detach().softmax(0)
    slopes = (-2 * z + (z - mean))[:, 0].detach()
    (gradient,) = torch.autograd.grad(dreg(log_weights, z), mean)
    assert gradient.item() == pytest.approx((shares**2 * slopes).sum().item(), abs=1e-12)


def test_mmjsd_is_reconstruction_minus_the_divergence(make, world):
    model, data = make(MMJSD, beta=3.0), world.sample(5)
    experts = [model.encoders[name](x) for name, x in data.items()]
    output = model(data)
    torch.testing.assert_close(output.kl, mmjsd(experts))
    scores = sum(output.log_likelihoods.values())
    torch.testing.assert_close(output.loss, -(scores - 3.0 * output.kl).mean())


def test_mmjsd_leaves_missing_experts_out_of_the_divergence(make, world):
    model, data = make(MMJSD), world.sample(5)
    present = {"sound": torch.tensor([True, True, False, False, False])}
    kl = model(data, present).kl
    both = mmjsd([model.encoders[name](x[:2]) for name, x in data.items()])
    torch.testing.assert_close(
        kl, torch.cat([both, mmjsd([model.encoders["sight"](data["sight"][2:])])])
    )


def test_num_samples(make):
    with pytest.raises(ValueError, match="num_samples"):
        make(MMVAE, num_samples=0)
