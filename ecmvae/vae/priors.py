"""Priors p(z): what a VAE's posterior is compared with and what its samples are drawn from.

To add one, subclass `Prior`, write `log_prob` and `sample`, and `kl` where it has a closed form; then pass it as
``VAE(..., prior=MyPrior(latent_dim))`` or name it in a configuration: ``model.prior: my_package.priors:MyPrior``.
Training, bounds, importance sampling and generation all read the model's own prior.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.registry import Registry
from ecmvae.vae.categorical import GumbelCategorical
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, standard_normal_like
from ecmvae.vae.mixtures import GaussianMixture

Posterior = DiagonalGaussian | GumbelCategorical | GaussianMixture
"""What an encoder returns: something with `mode`, `rsample` and `kl`, all in nats."""


class Prior(nn.Module):
    """A distribution over latents of width L = `latent_dim`, with or without parameters."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count(latent_dim, "latent_dim")

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`, in nats, summed over L."""
        raise NotImplementedError

    def sample(self, count: int, like: Tensor, generator: torch.Generator | None = None) -> Float[Tensor, "n l"]:
        """Draw `count` latents in the dtype and on the device of `like`."""
        raise NotImplementedError

    def kl(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "..."]:
        """KL(posterior || prior) in nats (...,): an unbiased estimate from K draws, unless a subclass knows better.

        Raises:
            ValueError: When the posterior has no density.
        """
        if isinstance(posterior, GaussianMixture):
            return posterior.kl(self, num_samples)
        if not isinstance(posterior, DiagonalGaussian):
            raise ValueError(f"{type(self).__name__} needs a posterior with a density, not {type(posterior).__name__}")
        z = posterior.rsample(num_samples)  # (K, ..., L)
        return (posterior.log_prob(z) - self.log_prob(z)).mean(0)


class StandardNormal(Prior):
    """N(0, I); the KL is the posterior's own, closed form where it has one."""

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`."""
        return standard_normal_like(z).log_prob(z)

    def sample(self, count: int, like: Tensor, generator: torch.Generator | None = None) -> Float[Tensor, "n l"]:
        """(count, L) draws."""
        return standard_normal_like(like.new_empty(count, self.latent_dim)).rsample(generator=generator)

    def kl(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "..."]:
        """KL(posterior || N(0, I)) in nats, of a posterior that is not categorical."""
        if isinstance(posterior, GumbelCategorical):
            raise ValueError("a categorical posterior has no density: give the model prior=UniformCategorical(...)")
        return posterior.kl()


class UniformCategorical(Prior):
    """G independent variables, each uniform over K values, one-hot and flattened: L = G*K."""

    def __init__(self, groups: int, values: int) -> None:
        super().__init__(groups * values)
        self.groups, self.values = groups, values

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """-G log K at every one-hot code."""
        return z.new_full(z.shape[:-1], -self.groups * math.log(self.values))

    def sample(self, count: int, like: Tensor, generator: torch.Generator | None = None) -> Float[Tensor, "n l"]:
        """(count, G*K) one-hot draws."""
        drawn = torch.randint(self.values, (count, self.groups), generator=generator, device=like.device)
        return F.one_hot(drawn, self.values).to(like.dtype).flatten(1)

    def kl(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "..."]:
        """KL(posterior || uniform) in nats, closed form, of a categorical posterior."""
        if not isinstance(posterior, GumbelCategorical):
            raise ValueError(f"UniformCategorical needs a categorical posterior, not {type(posterior).__name__}")
        return posterior.kl()


PRIORS: Registry[type[Prior]] = Registry(
    "prior", {"standard_normal": StandardNormal}, needs=("log_prob", "sample", "kl")
)
"""Priors that are built from the latent width alone, by name."""


def prior_or_standard_normal(prior: Prior | None, latent_dim: int) -> Prior:
    """`prior`, or N(0, I) over `latent_dim` for None."""
    prior = prior or StandardNormal(latent_dim)
    if prior.latent_dim != latent_dim:
        raise ValueError(f"the prior is over {prior.latent_dim} latents, the model has {latent_dim}: make them equal")
    return prior
