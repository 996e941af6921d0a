"""Mixtures of diagonal Gaussians as posteriors: mixture of experts, MoPoE subsets, richer q(z|x)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import DiagonalGaussian, standard_normal_like


@runtime_checkable
class Density(Protocol):
    """Whatever has a log-density: a `DiagonalGaussian`, a `GaussianMixture`, a `priors.Prior`."""

    def log_prob(self, z: Tensor) -> Tensor:
        """(..., L) -> (...), nats."""


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_c weight_c N_c, over the last axis of L.

    Attributes:
        components: Mean and logvar (C, ..., L).
        log_weights: (C, ...), normalised over C; -inf takes a component out for a sample.
    """

    components: DiagonalGaussian
    log_weights: Float[Tensor, "c ..."]

    @classmethod
    def of_present(
        cls, experts: Sequence[DiagonalGaussian], present: Bool[Tensor, "c ..."]
    ) -> GaussianMixture:
        """Uniform mixture of the experts that a sample has; `present` (C, ...) is True for those."""
        indicator = torch.zeros_like(present, dtype=experts[0].mean.dtype).masked_fill(
            ~present, -math.inf
        )
        return cls.of(experts, indicator)

    @classmethod
    def of(
        cls, experts: Sequence[DiagonalGaussian], log_weights: Tensor | None = None
    ) -> GaussianMixture:
        """Stack experts of one shape (..., L), with unnormalised log-weights (C, ...); None is uniform.

        Raises:
            ValueError: When there is no expert, or when some sample has only components of weight 0.
        """
        if not experts:
            raise ValueError("a mixture needs at least one component: give a non-empty list")
        components = DiagonalGaussian(
            torch.stack([expert.mean for expert in experts]),
            torch.stack([expert.logvar for expert in experts]),
        )
        if log_weights is None:
            log_weights = components.mean.new_zeros(components.mean.shape[:-1])
        elif not torch.isfinite(log_weights.amax(0)).all():
            raise ValueError(
                "a sample has no component with a weight: give at least one modality for every sample"
            )
        return cls(components, log_weights.log_softmax(0))

    def detach(self) -> GaussianMixture:
        """The same distribution, cut from the graph."""
        return GaussianMixture(self.components.detach(), self.log_weights.detach())

    @property
    def mean(self) -> Float[Tensor, "... l"]:
        """(..., L), the mixture's mean, the weighted mean of the components'."""
        return (self.log_weights.exp().unsqueeze(-1) * self.components.mean).sum(0)

    @property
    def mode(self) -> Float[Tensor, "... l"]:
        """(..., L), the mean of the heaviest component: an approximation of the mixture's mode."""
        best = self.log_weights.argmax(0)[None, ..., None].expand(
            1, *self.components.mean.shape[1:]
        )
        return self.components.mean.gather(0, best)[0]

    def rsample_each(self, num_samples: int | None = None) -> Float[Tensor, "... l"]:
        """One draw from every component, (C, ..., L), or (K, C, ..., L): stratified, weights left to the caller."""
        return self.components.rsample(num_samples)

    def rsample(self, num_samples: int | None = None) -> Float[Tensor, "... l"]:
        """Draw from the mixture, (..., L) or (K, ..., L).

        The component is picked at random, so gradients reach its mean and logvar but not the weights; for those, use
        `rsample_each` and weigh.
        """
        each = self.rsample_each(1 if num_samples is None else num_samples)  # (K, C, ..., L)
        weights = self.log_weights.exp().movedim(0, -1)  # (..., C)
        flat = weights.expand(len(each), *weights.shape).reshape(-1, weights.shape[-1])
        index = torch.multinomial(flat, 1).view(len(each), 1, *weights.shape[:-1], 1)
        drawn = each.gather(1, index.expand(-1, -1, *each.shape[2:]))[:, 0]
        return drawn[0] if num_samples is None else drawn

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density in nats; z (K, ..., L) gives (K, ...), z (..., L) gives (...,)."""
        extra = z.ndim - (self.components.mean.ndim - 1)
        parts = zip(self.components.mean, self.components.logvar, strict=True)
        # (C, K?, ...)
        log_probs = torch.stack([DiagonalGaussian(*part).log_prob(z) for part in parts])
        weights = self.log_weights.reshape(
            len(self.log_weights), *[1] * extra, *self.log_weights.shape[1:]
        )
        return torch.logsumexp(weights + log_probs, 0)

    def average(self, values: Float[Tensor, "c ..."]) -> Float[Tensor, "..."]:
        """sum_c weight_c value_c of one value for each component, (C, ...) -> (...); weight 0 hides NaN, too.

        With values KL(N_c || p) it is at least KL(mixture || p), by convexity.
        """
        return torch.where(self.log_weights > -math.inf, self.log_weights.exp() * values, 0.0).sum(
            0
        )

    def kl(self, other: Density | None = None, num_samples: int = 1) -> Float[Tensor, "..."]:
        """Monte-Carlo KL(mixture || other), stratified over the components, in nats (...,)."""
        z = self.rsample_each(num_samples)  # (K, C, ..., L)
        if other is None:
            other = standard_normal_like(self.components.mean[0])
        return self.average((self.log_prob(z) - other.log_prob(z)).mean(0))


class MixtureHead(nn.Module):
    """A feature to a mixture of C Gaussians with learnt weights: a richer q(z|x)."""

    def __init__(self, in_features: int, latent_dim: int, components: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(GaussianHead(in_features, latent_dim) for _ in range(components))
        self.weights = nn.Linear(in_features, components)

    def forward(self, features: Float[Tensor, "n f"]) -> GaussianMixture:
        """(n, F) features -> mixture over (n, L)."""
        return GaussianMixture.of(
            [head(features) for head in self.heads], self.weights(features).movedim(-1, 0)
        )
