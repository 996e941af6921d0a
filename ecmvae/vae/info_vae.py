"""InfoVAE (MMD-VAE): the divergence of the *aggregate* posterior from the prior, in place of a part of the KL.

Zhao et al., "InfoVAE: balancing learning and inference in variational autoencoders", 2019 (arXiv:1706.02262), eq. 6
with MMD as the divergence:

    loss = -E log p(x|z) + (1 - alpha) KL(q(z|x) || p(z)) + (alpha + lambda - 1) MMD^2(q(z), p(z))

alpha = 0 and lambda = 1 is the VAE; alpha = 1 drops the KL, so that z may carry as much about x as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.latents import LatentSet
from ecmvae.vae.mmd import mmd
from ecmvae.vae.penalties import Penalty
from ecmvae.vae.priors import Posterior, Prior
from ecmvae.vae.vae import VAE


class InfoVAE(VAE):
    """`VAE` with a share 1 - alpha of its KL, and MMD^2 between the batch's codes and draws from the prior."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        alpha: float = 0.0,
        mmd_weight: float = 10.0,
        kernel: str = "imq",
        **options: Any,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: As of `VAE`.
            decoder: As of `VAE`.
            latent_dim: As of `VAE`.
            alpha: Share of the KL that is left out, at most 1.
            mmd_weight: lambda, at least 1 - alpha.
            kernel: See `mmd.mmd`.
            options: `likelihood`, `prior` and `free_bits` of `VAE`.

        Raises:
            ValueError: For a weight outside its range.
        """
        if alpha > 1 or alpha + mmd_weight < 1:
            raise ValueError(
                f"InfoVAE needs alpha <= 1 and alpha + mmd_weight >= 1, got {alpha} and {mmd_weight}"
            )
        super().__init__(encoder, decoder, latent_dim, beta=1.0 - alpha, **options)
        self.mmd_weight, self.kernel = alpha + mmd_weight - 1.0, kernel

    def penalties(
        self,
        posterior: LatentSet,
        prior: Mapping[str, Posterior | Prior],
        z: Mapping[str, Float[Tensor, "n _"]],
    ) -> Mapping[str, Penalty]:
        """MMD^2 between the codes and as many draws from the prior; nothing of a single sample in eval mode."""
        if len(z["z"]) == 1 and not self.training:
            return {}
        drawn = self.prior.sample(len(z["z"]), z["z"])
        return {"mmd": Penalty(self.mmd_weight, mmd(z["z"], drawn, self.kernel))}
