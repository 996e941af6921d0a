"""Categorical latents by the Gumbel-softmax trick.

Jang et al., "Categorical reparameterization with Gumbel-softmax", 2017 (arXiv:1611.01144). The posterior has the same
`rsample`, `mode` and `kl` as `DiagonalGaussian`, so `VAE` trains with either.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class GumbelCategorical:
    """G independent categorical variables of K values, relaxed to points of the simplex."""

    def __init__(self, logits: Float[Tensor, "... g k"], temperature: float = 0.5) -> None:
        """Hold (..., G, K) unnormalised log-probabilities."""
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0, got {temperature}")
        self.logits, self.temperature = logits, temperature

    @property
    def mode(self) -> Float[Tensor, "... gk"]:
        """(..., G*K), one-hot at the most probable values."""
        return (
            F.one_hot(self.logits.argmax(-1), self.logits.shape[-1])
            .to(self.logits.dtype)
            .flatten(-2)
        )

    def rsample(self) -> Float[Tensor, "... gk"]:
        """(..., G*K), softmax((logits + Gumbel noise) / temperature), flattened for a decoder."""
        return F.gumbel_softmax(self.logits, tau=self.temperature).flatten(-2)

    def kl(self) -> Float[Tensor, "..."]:
        """KL(q || uniform) = G log K - H(q), in nats (...,); of the categorical, not of its relaxation."""
        log_probs = self.logits.log_softmax(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return (math.log(self.logits.shape[-1]) - entropy).sum(-1)


class CategoricalHead(nn.Module):
    """A linear layer from a feature to G categorical latents of K values."""

    def __init__(
        self, in_features: int, groups: int, values: int, *, temperature: float = 0.5
    ) -> None:
        super().__init__()
        self.groups, self.values, self.temperature = groups, values, temperature
        self.logits = nn.Linear(in_features, groups * values)

    def forward(self, features: Float[Tensor, "n f"]) -> GumbelCategorical:
        """(n, F) features -> distribution over (n, G*K)."""
        logits = self.logits(features).unflatten(-1, (self.groups, self.values))
        return GumbelCategorical(logits, self.temperature)
