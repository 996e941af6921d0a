"""DMVAE and MMVAE+: objectives written out, and private latents that stay private."""

import pytest
import torch

from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts
from ecmvae.vae.multimodal import DMVAE, MMVAEPlus


@pytest.fixture
def no_noise(monkeypatch):
    def mean(self, num_samples=None, generator=None):
        return self.mean if num_samples is None else self.mean.expand(num_samples, *self.mean.shape)

    monkeypatch.setattr(DiagonalGaussian, "rsample", mean)


@pytest.mark.usefixtures("no_noise")
def test_dmvae_sums_the_joint_and_the_single_bounds(make, world):
    model, data = make(DMVAE, beta=2.0), world.sample(4)
    pairs = {name: tuple(model.encoders[name](x).values()) for name, x in data.items()}
    private_kl = sum(private.kl() for _, private in pairs.values())

    def bound(shared, beta):
        scores = sum(
            model.likelihood(n).log_prob(
                model.decoders[n](torch.cat([shared.mean, pairs[n][1].mean], 1)), x
            )
            for n, x in data.items()
        )
        return scores - beta * (shared.kl() + private_kl)

    joint = product_of_experts([shared for shared, _ in pairs.values()])
    output = model(data)
    expected = sum(
        bound(shared, 2.0) for shared in [joint, *(shared for shared, _ in pairs.values())]
    )
    torch.testing.assert_close(output.loss, -expected.mean())
    torch.testing.assert_close(output.elbo, bound(joint, 1.0))


@pytest.mark.usefixtures("no_noise")
def test_mmvae_plus_written_out(make, world):
    model, data = make(MMVAEPlus, beta=0.5), world.sample(4)
    for name in data:
        torch.nn.init.normal_(model.auxiliary_mean[name])
    pairs = {name: tuple(model.encoders[name](x).values()) for name, x in data.items()}
    normal = torch.distributions.Normal(0.0, 1.0)
    total = 0
    for source, (shared, private) in pairs.items():
        u, w = shared.mean, private.mean
        scores = 0
        for target, x in data.items():
            other = w if target == source else model.auxiliary_mean[target].expand(4, 2)
            scores = scores + model.likelihood(target).log_prob(
                model.decoders[target](torch.cat([u, other], 1)), x
            )
        mixture = torch.stack([s.log_prob(u) for s, _ in pairs.values()]).logsumexp(0) - torch.log(
            torch.tensor(2.0)
        )
        prior = normal.log_prob(u).sum(1) + normal.log_prob(w).sum(1)
        total = total + 0.5 * (scores + 0.5 * (prior - mixture - private.log_prob(w)))
    torch.testing.assert_close(model(data).loss, -total.mean())


@pytest.mark.parametrize("kind", [DMVAE, MMVAEPlus])
def test_private_latents_do_not_reach_the_other_modality(kind, make, world):
    model, data = make(kind).eval(), world.sample(4)
    before = model.generate(data, ["sight"])["sight"]
    with torch.no_grad():
        model.encoders["sound"][1].private.mean.bias += 5.0
        after = model.generate(data, ["sight"])["sight"]
        model.encoders["sight"][1].private.mean.bias += 5.0
        own = model.generate(data, ["sight"])["sight"]
    torch.testing.assert_close(before, after)
    assert not torch.allclose(before, own)


def test_private_dim(make):
    with pytest.raises(ValueError, match="private_dim"):
        DMVAE({"a": torch.nn.Identity()}, {"a": torch.nn.Identity()}, 2, private_dim=0)
