"""Priors with parameters: a Gaussian, a mixture of Gaussians and the VampPrior.

Tomczak & Welling, "VAE with a VampPrior", 2018 (arXiv:1705.07120): the prior that maximises the ELBO is the mean of the
posteriors of all data; the VampPrior is the mean of the posteriors of a few learnt pseudo-inputs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.gaussian import DiagonalGaussian, check_count
from ecmvae.vae.priors import Encode, Posterior, Prior


class LearntGaussian(Prior):
    """One diagonal Gaussian, N(0, I) at first."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.mean, self.logvar = (
            nn.Parameter(torch.zeros(latent_dim)),
            nn.Parameter(torch.zeros(latent_dim)),
        )

    def expanded(self, shape: Sequence[int]) -> DiagonalGaussian:
        """The Gaussian over a shape (..., L)."""
        return DiagonalGaussian(self.mean.expand(tuple(shape)), self.logvar.expand(tuple(shape)))

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`."""
        return self.expanded(z.shape).log_prob(z)

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, L) draws."""
        return self.expanded((count, self.latent_dim)).rsample(generator=generator).to(like)

    def kl_terms(self, posterior: Posterior, num_samples: int = 1) -> Float[Tensor, "... g"]:
        """KL by dimension, closed form, of a Gaussian posterior."""
        if isinstance(posterior, DiagonalGaussian):
            return posterior.kl_per_dimension(self.expanded(posterior.mean.shape))
        return super().kl_terms(posterior, num_samples)


class MixturePrior(Prior):
    """What the two mixtures share; a subclass gives the components."""

    @abstractmethod
    def components(self) -> tuple[DiagonalGaussian, Float[Tensor, " c"]]:
        """C Gaussians (C, L) and their log-weights, normalised."""

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`."""
        gaussians, log_weights = self.components()
        # (..., C) -> (...)
        return torch.logsumexp(log_weights + gaussians.log_prob(z.unsqueeze(-2)), -1)

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, L) draws."""
        gaussians, log_weights = self.components()
        chosen = torch.multinomial(log_weights.exp(), count, replacement=True, generator=generator)
        drawn = DiagonalGaussian(gaussians.mean[chosen], gaussians.logvar[chosen])
        return drawn.rsample(generator=generator).to(like)


class GaussianMixturePrior(MixturePrior):
    """C diagonal Gaussians with learnt means, variances and weights; the means are drawn from N(0, I) at first."""

    def __init__(self, latent_dim: int, components: int = 10) -> None:
        super().__init__(latent_dim)
        check_count(components, "components")
        self.means = nn.Parameter(nn.init.normal_(torch.empty(components, latent_dim)))
        self.logvars = nn.Parameter(torch.zeros(components, latent_dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def components(self) -> tuple[DiagonalGaussian, Float[Tensor, " c"]]:
        """The parameters."""
        return DiagonalGaussian(self.means, self.logvars), self.logits.log_softmax(0)


class VampPrior(MixturePrior):
    """The uniform mixture of the posteriors q(z|u_c) of C learnt pseudo-inputs u_c, under the model's own encoder.

    `VAE(..., prior=VampPrior(...))` binds the encoder, which stays a part of the model only. An encoder with batch norm
    sees the pseudo-inputs as a batch of their own.
    """

    def __init__(self, latent_dim: int, event_shape: Sequence[int], components: int = 50) -> None:
        """Hold the pseudo-inputs, of one sample's shape, uniform in [0, 1] at first and free afterwards."""
        super().__init__(latent_dim)
        self.inputs = nn.Parameter(torch.rand(check_count(components, "components"), *event_shape))
        self._encode: Encode | None = None

    @classmethod
    def for_events(cls, latent_dim: int, event_shape: Sequence[int]) -> Prior:
        """With the default number of pseudo-inputs."""
        return cls(latent_dim, event_shape)

    def bind(self, encode: Encode | None) -> None:
        """Take q(z|x) of the model."""
        if encode is None:
            raise ValueError(
                "VampPrior needs a model with one encoder of one input: choose another prior"
            )
        self._encode = encode

    def components(self) -> tuple[DiagonalGaussian, Float[Tensor, " c"]]:
        """The pseudo-inputs' posteriors.

        Raises:
            ValueError: When the prior was given to no model, or the posteriors are not Gaussian.
        """
        if self._encode is None:
            raise ValueError(
                "VampPrior is made of a model's encoder: give it to VAE(..., prior=...) first"
            )
        posteriors = self._encode(self.inputs)
        count = len(self.inputs)
        return posteriors, posteriors.mean.new_zeros(count).log_softmax(0)
