"""FactorVAE: a discriminator tells codes from codes with shuffled dimensions, and so measures how dependent they are.

Kim & Mnih, "Disentangling by factorising", 2018 (arXiv:1802.05983). A discriminator D(z), the probability that z came
from q(z) and not from prod_j q(z_j), gives the density ratio and with it the total correlation, eq. 3:

    TC = E_q(z) log q(z) / prod_j q(z_j) = about E_q(z) log D(z) / (1 - D(z)) = E logit(z)
    loss = -ELBO + gamma TC
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.vae.latents import LatentSet
from ecmvae.vae.penalties import Penalty
from ecmvae.vae.priors import Posterior, Prior
from ecmvae.vae.vae import VAE


class Discriminator(nn.Module):
    """Codes (n, L) -> the logit that they come from q(z) and not from the product of its marginals, (n,)."""

    def __init__(self, latent_dim: int, hidden: int = 256, layers: int = 5) -> None:
        """`layers` of Linear + LeakyReLU(0.2), each `hidden` wide, and a last Linear; the paper has 5 of 1,000."""
        super().__init__()
        parts: list[nn.Module] = []
        for number in range(layers):
            parts += [nn.Linear(hidden if number else latent_dim, hidden), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*parts, nn.Linear(hidden, 1))

    def forward(self, z: Float[Tensor, "n l"]) -> Float[Tensor, " n"]:
        """The logits."""
        logits: Tensor = self.layers(z)
        return logits[:, 0]


class FactorVAE(VAE):
    """`VAE` with a discriminator inside.

    One optimiser trains both: in training `loss` holds the discriminator's own loss too, whose gradient does not reach
    the encoder, while the total correlation's does not reach the discriminator. In eval mode it is -ELBO + gamma TC.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        tc_weight: float = 10.0,
        hidden: int = 256,
        **options: Any,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: As of `VAE`.
            decoder: As of `VAE`.
            latent_dim: As of `VAE`.
            tc_weight: gamma, 0 or more.
            hidden: Width of the discriminator.
            options: `likelihood`, `beta`, `prior` and `free_bits` of `VAE`.

        Raises:
            ValueError: For a negative weight.
        """
        super().__init__(encoder, decoder, latent_dim, **options)
        if tc_weight < 0:
            raise ValueError(f"tc_weight must be >= 0, got {tc_weight}")
        self.tc_weight, self.discriminator = tc_weight, Discriminator(latent_dim, hidden)

    def penalties(
        self,
        posterior: LatentSet,
        prior: Mapping[str, Posterior | Prior],
        z: Mapping[str, Float[Tensor, "n _"]],
    ) -> Mapping[str, Penalty]:
        """The total correlation; in training also what the discriminator learns from."""
        found = {"total_correlation": Penalty(self.tc_weight, self.total_correlation(z["z"]))}
        if self.training:
            # Fresh draws, shuffled, stand for the product of the marginals: the paper takes them from a second batch.
            shuffled = permute_dimensions(posterior.rsample()["z"])
            found["discriminator"] = Penalty(1.0, self.discriminator_loss(z["z"], shuffled))
        return found

    def total_correlation(self, z: Float[Tensor, "n l"]) -> Float[Tensor, ""]:
        """Mean logit of codes, by a discriminator that stays as it is."""
        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        logits: Tensor = torch.func.functional_call(self.discriminator, fixed, (z,))
        return logits.mean()

    def discriminator_loss(
        self, z: Float[Tensor, "n l"], shuffled: Float[Tensor, "n l"]
    ) -> Float[Tensor, ""]:
        """Half the two cross-entropies, codes as 1 and shuffled ones as 0: ln 2 where it cannot tell them apart."""
        real, fake = self.discriminator(z.detach()), self.discriminator(shuffled.detach())
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def permute_dimensions(z: Float[Tensor, "n l"]) -> Float[Tensor, "n l"]:
    """Shuffle each dimension over the batch on its own: draws from the product of the marginals, Algorithm 1."""
    order = torch.rand(z.shape, device=z.device).argsort(0)
    return z.gather(0, order)
