"""A normalizing flow as a prior: z = f(u), u from N(0, I), f a chain of affine coupling layers.

Dinh et al., "Density estimation using Real NVP", 2017 (arXiv:1605.08803).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.gaussian import check_count, standard_normal_like
from ecmvae.vae.priors import Prior


class AffineCoupling(nn.Module):
    """One half of the vector is scaled and shifted by what a network makes of the other half.

    A new layer is the identity. Log-scales stay between -2 and 2.
    """

    LIMIT = 2.0

    def __init__(self, dim: int, hidden: int, *, first: bool) -> None:
        """Read the first half of `dim` values and change the second, or the other way round."""
        super().__init__()
        self.kept, self.first = dim // 2 if first else dim - dim // 2, first
        last = nn.Linear(hidden, 2 * (dim - self.kept))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(self.kept, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last
        )

    def forward(
        self, u: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The image of u, and log |det dz/du|."""
        kept, changed = self._split(u)
        log_scale, shift = self._scale_and_shift(kept)
        return self._join(kept, changed * log_scale.exp() + shift), log_scale.sum(-1)

    def inverse(
        self, z: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The origin of z, and log |det du/dz|."""
        kept, changed = self._split(z)
        log_scale, shift = self._scale_and_shift(kept)
        return self._join(kept, (changed - shift) * (-log_scale).exp()), -log_scale.sum(-1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:
            return x[..., : self.kept], x[..., self.kept :]
        return x[..., -self.kept :], x[..., : -self.kept]

    def _join(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([kept, changed] if self.first else [changed, kept], -1)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, -1)
        return self.LIMIT * torch.tanh(log_scale / self.LIMIT), shift


class FlowPrior(Prior):
    """Affine coupling layers over N(0, I), which the prior is at first."""

    def __init__(self, latent_dim: int, layers: int = 4, hidden: int = 64) -> None:
        """Chain `layers` couplings, each with a network of two hidden layers.

        Raises:
            ValueError: For fewer than two latents, whose halves would be empty, or a count below 1.
        """
        super().__init__(latent_dim)
        if latent_dim < 2:
            raise ValueError(
                "a flow couples latents and needs at least 2, got 1: choose another prior"
            )
        check_count(hidden, "hidden")
        self.layers = nn.ModuleList(
            AffineCoupling(latent_dim, hidden, first=number % 2 == 0)
            for number in range(check_count(layers, "layers"))
        )

    def forward(
        self, u: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The image z = f(u), and log |det dz/du|."""
        total = u.new_zeros(u.shape[:-1])
        for layer in self.layers:
            u, log_det = layer(u)
            total = total + log_det
        return u, total

    def inverse(
        self, z: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The origin u of z, and log |det du/dz|."""
        total = z.new_zeros(z.shape[:-1])
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z)  # type: ignore[operator]
            total = total + log_det
        return z, total

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`, by change of variables."""
        u, log_det = self.inverse(z)
        return standard_normal_like(u).log_prob(u) + log_det

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, L) draws."""
        u = standard_normal_like(like.new_empty(count, self.latent_dim)).rsample(
            generator=generator
        )
        z: Tensor = self.forward(u)[0]
        return z
