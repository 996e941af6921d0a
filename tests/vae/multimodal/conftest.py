"""A linear-Gaussian world of two modalities whose log p(x) is known, and models of it."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.multimodal import (
    DMVAE,
    JMVAE,
    MMJSD,
    MMVAE,
    MVAE,
    MMVAEPlus,
    MoPoE,
    SharedPrivateHead,
)
from ecmvae.vae.vae import LabelConditioned

DIMS = {"sound": 6, "sight": 4}
LATENT, PRIVATE, VARIANCE = 3, 2, 1.0


class World:
    """z ~ N(0, I), x_m = W_m z + noise; the decoders below may be set to the true W_m."""

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        self.weights = {
            name: 0.7 * torch.randn(dim, LATENT, generator=generator) for name, dim in DIMS.items()
        }

    def sample(self, count):
        z = torch.randn(count, LATENT)
        return {
            name: z @ w.T + VARIANCE**0.5 * torch.randn(count, len(w))
            for name, w in self.weights.items()
        }

    def log_prob(self, data):
        """Exact log p of the modalities that are there, (n,)."""
        weight = torch.cat([self.weights[name] for name in data])
        covariance = weight @ weight.T + VARIANCE * torch.eye(len(weight))
        return MultivariateNormal(torch.zeros(len(weight)), covariance).log_prob(
            torch.cat(list(data.values()), 1)
        )


@pytest.fixture
def world():
    return World()


def build(kind, **options):
    """A small model of the world with linear decoders."""
    private = kind in (DMVAE, MMVAEPlus)

    def encoder(dim):
        head = SharedPrivateHead(24, LATENT, PRIVATE) if private else GaussianHead(24, LATENT)
        return nn.Sequential(MLPEncoder(dim, (24,)), head)

    if private:
        options["private_dim"] = PRIVATE
    if kind is JMVAE:
        options["joint_encoder"] = LabelConditioned(encoder(sum(DIMS.values())))
    width = LATENT + PRIVATE if private else LATENT
    return kind(
        {name: encoder(dim) for name, dim in DIMS.items()},
        {name: nn.Linear(width, dim) for name, dim in DIMS.items()},
        LATENT,
        likelihoods={name: GaussianLikelihood(VARIANCE) for name in DIMS},
        **options,
    )


def set_truth(model, world):
    """Give the decoders the world's weights; columns of private latents are 0."""
    for name, weight in world.weights.items():
        decoder = model.decoders[name]
        decoder.weight.data.zero_()
        decoder.weight.data[:, :LATENT] = weight
        decoder.bias.data.zero_()
    for encoder in model.encoders.values():  # wide posteriors, also as a product: good proposals
        head = encoder[1].shared if isinstance(encoder[1], SharedPrivateHead) else encoder[1]
        head.logvar.bias.data += 2.0
    return model


KINDS = [MVAE, JMVAE, MMVAE, MoPoE, MMJSD, DMVAE, MMVAEPlus]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    """Every family in turn."""
    return request.param


@pytest.fixture
def make():
    return build


@pytest.fixture
def truth():
    return set_truth
