"""MVAE and JMVAE: their objectives written out."""

import pytest
import torch

from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts
from ecmvae.vae.multimodal import JMVAE, MVAE


@pytest.fixture
def no_noise(monkeypatch):
    """Samples are means, so that two ways to the same number agree to rounding."""
    monkeypatch.setattr(DiagonalGaussian, "rsample", lambda self, *_: self.mean)


def elbo(model, data, subset, beta=1.0):
    batch = model.prepare(data)
    experts = model.encode(batch)
    posterior = product_of_experts([experts[name] for name in subset])
    z = posterior.mean
    scores = [
        model.likelihood(name).log_prob(model.decoders[name](z), data[name]) for name in subset
    ]
    return sum(scores) - beta * posterior.kl()


@pytest.mark.usefixtures("no_noise")
def test_mvae_sums_the_elbos_of_all_and_of_each(make, world):
    model, data = make(MVAE, beta=2.0), world.sample(4)
    subsets = (["sound", "sight"], ["sound"], ["sight"])
    expected = -sum(elbo(model, data, subset, 2.0) for subset in subsets).mean()
    output = model(data)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.elbo, elbo(model, data, ["sound", "sight"]))


@pytest.mark.usefixtures("no_noise")
def test_mvae_adds_random_subsets(make, world):
    model, data = make(MVAE), world.sample(4)
    torch.manual_seed(0)
    plain = model(data).loss
    model.random_subsets = 2
    extra = (plain - model(data).loss).detach()
    possible = {
        s: elbo(model, data, s.split()).mean().detach() for s in ("sound", "sight", "sound sight")
    }
    sums = [a + b for a in possible.values() for b in possible.values()]
    assert min((extra - s).abs().item() for s in sums) < 1e-3


@pytest.mark.usefixtures("no_noise")
def test_jmvae_pulls_the_single_encoders_to_the_joint_one(make, world):
    model, data = make(JMVAE, alpha=0.3), world.sample(4)
    posterior = model.joint_encoder(*data.values())
    scores = sum(
        model.likelihood(n).log_prob(model.decoders[n](posterior.mean), x) for n, x in data.items()
    )
    to_single = sum(posterior.kl(model.encoders[name](x)) for name, x in data.items())
    output = model(data)
    torch.testing.assert_close(output.loss, -(scores - posterior.kl() - 0.3 * to_single).mean())
    torch.testing.assert_close(output.elbo, scores - posterior.kl())


def test_jmvae_with_one_modality_uses_its_own_encoder(make, world):
    model, data = make(JMVAE), world.sample(4)
    torch.testing.assert_close(
        model.joint({"sight": data["sight"]}).mean, model.encoders["sight"](data["sight"]).mean
    )


def test_jmvae_refuses_to_learn_from_incomplete_samples(make, world):
    model, data = make(JMVAE), world.sample(4)
    with pytest.raises(ValueError, match="complete samples"):
        model({"sight": data["sight"]})
    with pytest.raises(ValueError, match="alpha"):
        make(JMVAE, alpha=-1.0)
