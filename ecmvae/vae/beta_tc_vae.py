"""beta-TC-VAE: the KL taken apart, and a weight on its part that measures how dependent the latents are.

Chen et al., "Isolating sources of disentanglement in variational autoencoders", 2018 (arXiv:1802.04942). With the
aggregate posterior q(z) = E_x q(z|x), eq. 2:

    E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + [KL(q(z) || p(z)) - KL(q(z) || prod_j q(z_j))]
                           = mutual information + total correlation + dimension-wise KL

and the loss is -log p(x|z) + alpha I + beta TC + gamma DW, eq. 4. q(z) is estimated from the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latents import LatentSet
from ecmvae.vae.penalties import Penalty
from ecmvae.vae.priors import Posterior, Prior
from ecmvae.vae.vae import VAE

Sampling = Literal["stratified", "weighted"]
"""How q(z) is estimated from a batch, see `log_aggregate`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KLParts:
    """The three parts of the KL, each (n,) nats: estimates whose means are the terms of eq. 2."""

    mutual_information: Float[Tensor, " n"]
    total_correlation: Float[Tensor, " n"]
    dimension_wise_kl: Float[Tensor, " n"]


class BetaTCVAE(VAE):
    """`VAE` with weights on the parts of its KL.

    The KL stays in closed form; the loss adds (alpha - 1) I + (beta - 1) TC + (gamma - 1) DW, which is eq. 4 in the
    mean and has less noise. `elbo` is the plain bound.

    Attributes:
        dataset_size: N, the number of training samples; None takes the batch for the whole set. The trainer sets it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        tc_weight: float = 6.0,
        information_weight: float = 1.0,
        dimension_weight: float = 1.0,
        sampling: str = "stratified",
        dataset_size: int | None = None,
        **options: Any,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: As of `VAE`, of a Gaussian posterior.
            decoder: As of `VAE`.
            latent_dim: As of `VAE`.
            tc_weight: beta.
            information_weight: alpha.
            dimension_weight: gamma.
            sampling: "stratified" or "weighted".
            dataset_size: See the class.
            options: `likelihood`, `prior` and `free_bits` of `VAE`.

        Raises:
            ValueError: For a negative weight or an unknown sampling.
        """
        super().__init__(encoder, decoder, latent_dim, **options)
        if min(tc_weight, information_weight, dimension_weight) < 0:
            raise ValueError("the weights of the KL's parts must be >= 0")
        if sampling not in get_args(Sampling):
            raise ValueError(
                f"unknown sampling {sampling!r}: choose from {', '.join(get_args(Sampling))}"
            )
        self.tc_weight, self.information_weight, self.dimension_weight = (
            tc_weight,
            information_weight,
            dimension_weight,
        )
        self.sampling, self.dataset_size = sampling, dataset_size

    def penalties(
        self,
        posterior: LatentSet,
        prior: Mapping[str, Posterior | Prior],
        z: Mapping[str, Float[Tensor, "n _"]],
    ) -> Mapping[str, Penalty]:
        """The parts of the KL, each with its weight beyond the 1 that the KL itself gives.

        A single sample in eval mode has none; a batch larger than `dataset_size` counts as the whole set.
        """
        count = len(z["z"])
        if count == 1 and not self.training:
            return {}
        size = max(count, self.dataset_size or 0)
        parts = kl_parts(posterior.gaussian("z"), self.prior, z["z"], size, self.sampling)
        weights = {
            "mutual_information": self.information_weight,
            "total_correlation": self.tc_weight,
            "dimension_wise_kl": self.dimension_weight,
        }
        return {
            name: Penalty(weight - 1.0, getattr(parts, name).mean())
            for name, weight in weights.items()
        }


def kl_parts(
    posterior: DiagonalGaussian,
    prior: Prior,
    z: Float[Tensor, "n l"],
    dataset_size: int | None = None,
    sampling: str = "stratified",
) -> KLParts:
    """Mutual information, total correlation and dimension-wise KL of a batch, at one draw z for each posterior.

    Args:
        posterior: q(z|x_i) over (n, L).
        prior: p(z).
        z: z_i from q(z|x_i).
        dataset_size: N; None is n.
        sampling: See `log_aggregate`.

    Raises:
        ValueError: As `log_aggregate`.
    """
    # (n, L) of one dimension
    alone = DiagonalGaussian(posterior.mean[..., None], posterior.logvar[..., None])
    table = alone.log_prob(z[:, None, :, None])  # (n, n, L): log q(z_i,l | x_j)
    log_q = log_aggregate(table.sum(-1), dataset_size, sampling)
    log_product = log_aggregate(table, dataset_size, sampling).sum(-1)
    return KLParts(
        mutual_information=posterior.log_prob(z) - log_q,
        total_correlation=log_q - log_product,
        dimension_wise_kl=log_product - prior.log_prob(z),
    )


def log_aggregate(
    table: Float[Tensor, "n m ..."], dataset_size: int | None = None, sampling: str = "stratified"
) -> Float[Tensor, "n ..."]:
    """Log of q(z_i) = 1/N sum_j q(z_i|x_j) over a data set of N, from a batch of n that holds x_i itself.

    Args:
        table: log q(z_i|x_j), the own x_i on the diagonal.
        dataset_size: N; None is n.
        sampling: "stratified" weighs the own x_i by 1/N and the others by (N - 1) / (N (n - 1)) each: an unbiased
            estimate of q(z_i), exact for n = N. "weighted" is the paper's minibatch weighted sampling, all by
            1 / (N n): a value far too small for n << N, with the gradient of the plain mixture of the batch.

    Raises:
        ValueError: For fewer than 2 samples, or a data set smaller than the batch.
    """
    count = len(table)
    size = count if dataset_size is None else dataset_size
    if count < 2 or size < count:
        raise ValueError(
            f"q(z) needs a batch of at least 2 and a data set no smaller than it, got {count} of {size}"
        )
    if sampling == "weighted":
        return torch.logsumexp(table, 1) - math.log(size * count)
    others = math.log((size - 1) / (size * (count - 1)))
    weights = table.new_full((count, count), others).fill_diagonal_(-math.log(size))
    return torch.logsumexp(table + weights.view(count, count, *[1] * (table.ndim - 2)), 1)
