"""Inverse autoregressive flow: each latent is scaled and shifted by what a network makes of the latents before it.

Kingma et al., "Improving variational inference with inverse autoregressive flow", 2016 (arXiv:1606.04934), eq. 10:
z_i = u_i exp(s_i(u_<i)) + m_i(u_<i), log |det dz/du| = sum_i s_i. The networks are masked: Germain et al., "MADE", 2015
(arXiv:1502.03509). Drawing takes one pass; the inverse takes L passes, one latent after the other.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.vae.gaussian import check_count


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are always 0."""

    mask: Tensor

    def __init__(self, mask: Float[Tensor, "d e"]) -> None:
        """`mask` (out, in) holds 1 where there is a weight."""
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Float[Tensor, "... e"]) -> Float[Tensor, "... d"]:
        """(..., in) -> (..., out)."""
        return F.linear(input, self.mask * self.weight, self.bias)


class AutoregressiveLayer(nn.Module):
    """One step of the flow; a new one is the identity."""

    def __init__(self, latent_dim: int, hidden: int) -> None:
        """Two hidden layers of `hidden` units, each of which sees the first few latents only."""
        super().__init__()
        inputs = torch.arange(latent_dim)
        # a unit of degree d sees latents 0 to d
        units = torch.arange(hidden) % max(latent_dim - 1, 1)
        first = (units[:, None] >= inputs[None]).float()
        second = (units[:, None] >= units[None]).float()
        last = (inputs[:, None] > units[None]).float().repeat(2, 1)
        self.network = nn.Sequential(
            MaskedLinear(first), nn.ReLU(), MaskedLinear(second), nn.ReLU(), MaskedLinear(last)
        )
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, u: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The image of u, and log |det dz/du|."""
        shift, log_scale = self.network(u).chunk(2, -1)
        return u * log_scale.exp() + shift, log_scale.sum(-1)

    def inverse(
        self, z: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The origin of z, and log |det du/dz|."""
        u = torch.zeros_like(z)
        # pass i makes latent i right, and leaves those before it as they are
        for _ in range(z.shape[-1]):
            shift, log_scale = self.network(u).chunk(2, -1)
            u = (z - shift) * (-log_scale).exp()
        return u, -log_scale.sum(-1)


class InverseAutoregressiveFlow(nn.Module):
    """A chain of `AutoregressiveLayer`s, the order of the latents reversed before each."""

    def __init__(self, latent_dim: int, layers: int = 2, hidden: int = 64) -> None:
        """Chain `layers`.

        Raises:
            ValueError: For fewer than two latents, or a count below 1.
        """
        super().__init__()
        if latent_dim < 2:
            raise ValueError(
                "an autoregressive flow orders latents and needs at least 2, got 1: use vae"
            )
        check_count(hidden, "hidden")
        self.layers = nn.ModuleList(
            AutoregressiveLayer(latent_dim, hidden) for _ in range(check_count(layers, "layers"))
        )

    def forward(
        self, u: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The image z = f(u), and log |det dz/du|."""
        total = u.new_zeros(u.shape[:-1])
        for layer in self.layers:
            u, log_det = layer(u.flip(-1))
            total = total + log_det
        return u, total

    def inverse(
        self, z: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The origin u of z, and log |det du/dz|."""
        total = z.new_zeros(z.shape[:-1])
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z)  # type: ignore[operator]
            z, total = z.flip(-1), total + log_det
        return z, total
