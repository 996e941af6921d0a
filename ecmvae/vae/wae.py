"""The Wasserstein autoencoder with an MMD penalty: a deterministic autoencoder whose codes follow a prior.

Tolstikhin et al., "Wasserstein auto-encoders", 2018 (arXiv:1711.01558), Algorithm 2:

    loss = E c(x, D(E(x))) + lambda MMD^2(q(z), p(z))

with q(z) the distribution of all codes. The cost c is -log p(x|code) of the model's likelihood; a `GaussianLikelihood`
of variance 1/2 is the paper's squared error, up to a constant. There is no bound on log p(x).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.mmd import mmd
from ecmvae.vae.penalties import Penalty
from ecmvae.vae.priors import Prior, prior_or_standard_normal


class WAE(AutoEncoder):
    """`AutoEncoder` whose codes are held near a prior; `sample` draws from it."""

    prior: Prior

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        mmd_weight: float = 10.0,
        kernel: str = "imq",
        prior: Prior | None = None,
        **options: Any,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: (n, *event) -> (n, L).
            decoder: (n, L) -> (n, *event) logits or means.
            latent_dim: L.
            mmd_weight: lambda, 0 or more.
            kernel: See `mmd.mmd`.
            prior: p(z); None is N(0, I).
            options: `likelihood` and `noise_std` of `AutoEncoder`.

        Raises:
            ValueError: For a negative weight.
        """
        super().__init__(encoder, decoder, **options)
        if mmd_weight < 0:
            raise ValueError(f"mmd_weight must be >= 0, got {mmd_weight}")
        self.latent_dim, self.mmd_weight, self.kernel = latent_dim, mmd_weight, kernel
        self.prior = prior_or_standard_normal(prior, latent_dim)

    def penalties(
        self, code: Float[Tensor, "n l"], parameters: Float[Tensor, "n ..."]
    ) -> Mapping[str, Penalty]:
        """MMD^2 between the codes and as many draws from the prior; nothing of a single sample in eval mode."""
        if len(code) == 1 and not self.training:
            return {}
        return {
            "mmd": Penalty(
                self.mmd_weight, mmd(code, self.prior.sample(len(code), code), self.kernel)
            )
        }
