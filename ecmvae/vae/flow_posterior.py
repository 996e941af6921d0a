"""A normalizing flow on top of the encoder's Gaussian: a richer q(z|x).

Rezende & Mohamed, "Variational inference with normalizing flows", 2015 (arXiv:1505.05770), eq. 5: z = f(u), u from
q(u|x), and log q(z|x) = log q(u|x) - log |det df/du|. f is any module with `forward` and `inverse` that give the image
and the log-determinant: `autoregressive.InverseAutoregressiveFlow`, or RealNVP's `flow_prior.FlowPrior`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import DiagonalGaussian, standard_normal_like
from ecmvae.vae.mixtures import Density


@dataclass(frozen=True, eq=False)
class FlowPosterior:
    """The image of a Gaussian over (..., L) under a flow.

    Attributes:
        base: q(u|x).
        flow: The module f.
    """

    base: DiagonalGaussian
    flow: nn.Module

    @property
    def mode(self) -> Float[Tensor, "... l"]:
        """(..., L), the image of the base's mean: not the mode in general, but one point for each x."""
        z: Tensor = self.flow(self.base.mean)[0]
        return z

    def detach(self) -> FlowPosterior:
        """The same distribution; the base is cut from the graph, the flow's parameters are not."""
        return FlowPosterior(self.base.detach(), self.flow)

    def rsample(self, num_samples: int | None = None) -> Float[Tensor, "... l"]:
        """Reparameterised draw, (..., L) or (K, ..., L)."""
        return self.rsample_with_log_prob(num_samples)[0]

    def rsample_with_log_prob(
        self, num_samples: int | None = None
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """A draw and its own log-density, without the inverse of the flow."""
        u = self.base.rsample(num_samples)
        z, log_det = self.flow(u)
        return z, self.base.log_prob(u) - log_det

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at any point, in nats; z (K, ..., L) gives (K, ...)."""
        inverse: Any = self.flow.inverse
        u, log_det = inverse(z)
        density: Tensor = self.base.log_prob(u) + log_det
        return density

    def kl(self, other: Density | None = None, num_samples: int = 1) -> Float[Tensor, "..."]:
        """Monte-Carlo KL(self || other) in nats (...,); None is the standard normal."""
        z, log_prob = self.rsample_with_log_prob(num_samples)
        return (log_prob - (other or standard_normal_like(z)).log_prob(z)).mean(0)


class FlowHead(nn.Module):
    """A feature to a Gaussian and the flow on top of it; the flow's parameters are shared by all samples."""

    def __init__(self, in_features: int, latent_dim: int, flow: nn.Module) -> None:
        super().__init__()
        self.gaussian, self.flow = GaussianHead(in_features, latent_dim), flow

    def forward(self, features: Float[Tensor, "... f"]) -> FlowPosterior:
        """(..., F) -> distribution over (..., L)."""
        return FlowPosterior(self.gaussian(features), self.flow)
