"""Priors p(z): what a VAE's posterior is compared with and what its samples are drawn from.

To add one, subclass `Prior`, write `log_prob` and `sample`, and `kl_terms` where the KL has a closed form; then pass it
as ``VAE(..., prior=MyPrior(latent_dim))`` or name it in a configuration: ``model.prior: my_package.priors:MyPrior``.
Training, bounds, importance sampling and generation all read the model's own prior.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.registry import Registry
from ecmvae.vae.categorical import GumbelCategorical
from ecmvae.vae.flow_posterior import FlowPosterior
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, standard_normal_like
from ecmvae.vae.mixtures import GaussianMixture

Encode = Callable[[Tensor], DiagonalGaussian]
"""A model's q(z|x)."""

Posterior = DiagonalGaussian | GumbelCategorical | GaussianMixture | FlowPosterior
"""What an encoder returns: something with `mode`, `rsample` and `kl`, all in nats."""


class Prior(nn.Module, ABC):
    """A distribution over latents of width L = `latent_dim`, with or without parameters."""

    @classmethod
    def for_events(cls, latent_dim: int, event_shape: Sequence[int]) -> Prior:
        """The prior of a model of data of one shape, built from a configuration; few priors need the shape."""
        return cls(latent_dim)

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count(latent_dim, "latent_dim")

    def bind(self, encode: Encode | None) -> None:
        """Take q(z|x) of the model that the prior is given to, None of a model with several encoders.

        Raises:
            ValueError: When the prior needs it and there is none.
        """

    @abstractmethod
    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`, in nats, summed over L."""

    @abstractmethod
    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """Draw `count` latents in the dtype and on the device of `like`."""

    def kl(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "..."]:
        """KL(posterior || prior) in nats (...,): an unbiased estimate from K draws, unless a subclass knows better.

        Raises:
            ValueError: When the posterior has no density.
        """
        return self.kl_terms(posterior, num_samples).sum(-1)

    def kl_terms(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "... g"]:
        """The KL in as many terms as it falls apart into, (..., G): one, or L where a subclass has it by dimension.

        Raises:
            ValueError: When the posterior has no density.
        """
        if isinstance(posterior, GaussianMixture | FlowPosterior):
            return posterior.kl(self, num_samples).unsqueeze(-1)
        if not isinstance(posterior, DiagonalGaussian):
            raise ValueError(
                f"{type(self).__name__} needs a posterior with a density, not {type(posterior).__name__}"
            )
        z = posterior.rsample(num_samples)  # (K, ..., L)
        return (posterior.log_prob(z) - self.log_prob(z)).mean(0).unsqueeze(-1)


class StandardNormal(Prior):
    """N(0, I); the KL is the posterior's own, closed form where it has one."""

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`."""
        return standard_normal_like(z).log_prob(z)

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, L) draws."""
        return standard_normal_like(like.new_empty(count, self.latent_dim)).rsample(
            generator=generator
        )

    def kl_terms(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "... g"]:
        """KL by dimension, closed form, of a Gaussian posterior; an estimate of a mixture's or a flow's."""
        if isinstance(posterior, GumbelCategorical):
            raise ValueError(
                "a categorical posterior has no density: give the model prior=UniformCategorical(...)"
            )
        if isinstance(posterior, DiagonalGaussian):
            return posterior.kl_per_dimension()
        return posterior.kl(num_samples=num_samples).unsqueeze(-1)


class UniformCategorical(Prior):
    """G independent variables, each uniform over K values, one-hot and flattened: L = G*K."""

    def __init__(self, groups: int, values: int) -> None:
        super().__init__(groups * values)
        self.groups, self.values = groups, values

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """-G log K at every one-hot code."""
        return z.new_full(z.shape[:-1], -self.groups * math.log(self.values))

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, G*K) one-hot draws."""
        drawn = torch.randint(
            self.values, (count, self.groups), generator=generator, device=like.device
        )
        return F.one_hot(drawn, self.values).to(like.dtype).flatten(1)

    def kl_terms(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "... g"]:
        """KL(posterior || uniform) in nats, closed form, of a categorical posterior."""
        if not isinstance(posterior, GumbelCategorical):
            raise ValueError(
                f"UniformCategorical needs a categorical posterior, not {type(posterior).__name__}"
            )
        return posterior.kl().unsqueeze(-1)


PRIORS: Registry[type[Prior]] = Registry(
    "prior",
    {
        "standard_normal": StandardNormal,
        "gaussian": "ecmvae.vae.learnt_priors:LearntGaussian",
        "mixture": "ecmvae.vae.learnt_priors:GaussianMixturePrior",
        "vamp": "ecmvae.vae.learnt_priors:VampPrior",
        "flow": "ecmvae.vae.flow_prior:FlowPrior",
    },
    needs=("log_prob", "sample", "kl", "for_events"),
)
"""Priors by name, built by `Prior.for_events`."""


def prior_or_standard_normal(
    prior: Prior | None, latent_dim: int, encode: Encode | None = None
) -> Prior:
    """`prior`, or N(0, I) over `latent_dim` for None; bound to the q(z|x) of its model, where that has one encoder."""
    prior = prior or StandardNormal(latent_dim)
    if prior.latent_dim != latent_dim:
        raise ValueError(
            f"the prior is over {prior.latent_dim} latents, the model has {latent_dim}: make them equal"
        )
    prior.bind(encode)
    return prior
