"""DMVAE and MMVAE+: a latent c that the modalities share and a private one s for each.

Lee & Pavlovic, "Private-shared disentangled multimodal VAE", 2021 (arXiv:2012.13024); Palumbo et al., "MMVAE+", 2023.
Encoders return a `LatentSet` of c and s, decoders read the two concatenated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import (
    DiagonalGaussian,
    check_count,
    product_of_experts,
    standard_normal_like,
)
from ecmvae.vae.latents import LatentSet, sum_of
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.multimodal.base import MaskedBatch, MultimodalOutput, MultimodalVAE
from ecmvae.vae.priors import Posterior, Prior, StandardNormal


class SharedPrivateHead(nn.Module):
    """A feature to a shared and a private Gaussian."""

    def __init__(self, in_features: int, shared_dim: int, private_dim: int) -> None:
        super().__init__()
        self.shared, self.private = (
            GaussianHead(in_features, shared_dim),
            GaussianHead(in_features, private_dim),
        )

    def forward(self, features: Float[Tensor, "n f"]) -> LatentSet:
        """(n, F) -> c over (n, S) and s over (n, P)."""
        return LatentSet({"c": self.shared(features), "s": self.private(features)})


class PrivateSharedVAE(MultimodalVAE):
    """What DMVAE and MMVAE+ share. `latent_dim` is the shared width S; `private_dim` that of each private latent."""

    def __init__(self, *args: Any, private_dim: int, **kwargs: Any) -> None:
        """As `MultimodalVAE`, with encoders -> `LatentSet` of c and s, and decoders of (n, S + P)."""
        super().__init__(*args, **kwargs)
        self.private_dim = check_count(private_dim, "private_dim")
        self.standard_normal = StandardNormal(private_dim)

    def encode(self, batch: MaskedBatch) -> dict[str, DiagonalGaussian]:
        """The shared posteriors."""
        return shared_of(self.latent_sets(batch))

    def latent_sets(self, batch: MaskedBatch) -> dict[str, LatentSet]:
        """Each modality's c and s; where it is missing, s is N(0, I) and c meaningless."""
        sets = {}
        for (name, x), row in zip(batch.data.items(), batch.present[..., None], strict=True):
            latents: LatentSet = self.encoders[name](x)
            s = latents.gaussian("s")
            own = DiagonalGaussian(torch.where(row, s.mean, 0.0), torch.where(row, s.logvar, 0.0))
            sets[name] = LatentSet({"c": latents["c"], "s": own})
        return sets

    def latents_of(self, batch: MaskedBatch) -> LatentSet:
        """The joint posterior of c, and s of each modality of the batch under a name such as s_image."""
        return with_private(self.joint_of(batch), self.latent_sets(batch))

    def latent_priors(self) -> dict[str, Prior]:
        """The model's prior for c, N(0, I) for every s."""
        return {"c": self.prior} | {f"s_{name}": self.standard_normal for name in self.names}

    def decoder_input(self, name: str, z: Mapping[str, Tensor]) -> Tensor:
        """(..., S + P), c and the modality's own s."""
        return torch.cat([z["c"], z[f"s_{name}"]], -1)

    def private_prior(self, name: str, like: Tensor) -> DiagonalGaussian:
        """Where the private latent of a modality that was not seen comes from, (n, P)."""
        return standard_normal_like(like.new_zeros(len(like), self.private_dim))

    def united_points(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """The mode of c given all present modalities; s a modality's own where it is present, else its prior's mode."""
        c, sets = self.united_of(batch).mode, self.latent_sets(batch)
        points = {"c": c} | {f"s_{name}": self.private_prior(name, c).mode for name in self.names}
        for (name, latents), row in zip(sets.items(), batch.present, strict=True):
            points[f"s_{name}"] = torch.where(row[:, None], latents["s"].mode, points[f"s_{name}"])
        return points


class DMVAE(PrivateSharedVAE):
    """Shared posterior = prior times the present experts; each expert alone must explain all modalities too.

    loss = -sum over c ~ {PoE of all, each q_m(c)} of [sum_m lambda_m log p(x_m|c, s_m) - beta (KL(c || p) +
    sum_m KL(q(s_m|x_m) || p))].
    """

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        sets = self.latent_sets(batch)
        shared = shared_of(sets)
        latents = with_private(product_of_experts(list(shared.values()), mask=batch.present), sets)
        z = latents.rsample()
        scores, kl = self.score(z, batch), self._kl(latents)
        objective = bounds.elbo(self.weighted(scores), kl, self.beta)
        for expert, row in zip(shared.values(), batch.present, strict=True):
            alone = self.weighted(self.score({**z, "c": expert.rsample()}, batch))
            bound = bounds.elbo(alone, self._kl(with_private(expert, sets)), self.beta)
            objective = objective + torch.where(row, bound, 0.0)
        return MultimodalOutput(
            loss=-objective.mean(), log_likelihoods=scores, kl=kl, posterior=latents.gaussian("c")
        )

    def joint_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """Product of the prior and the present shared experts."""
        return product_of_experts(list(self.encode(batch).values()), mask=batch.present)

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """The joint posterior of c itself, as Lee & Pavlovic generate."""
        return self.joint_of(batch)

    def _kl(self, latents: LatentSet) -> Tensor:
        return sum_of(list(latents.divergence(self.latent_priors()).values()))


class MMVAEPlus(PrivateSharedVAE):
    """Shared posterior = uniform mixture of the present experts; cross-modal terms draw the private latent elsewhere.

    For u, w_m ~ q(u, w_m|x_m) the log-weight is sum_n lambda_n log p(x_n|u, w) + beta [log p(u) p(w_m) - log (1/M)
    sum_j q_j(u) - log q(w_m|x_m)], where w is w_m for n = m and a draw from a learnt r_n otherwise, so that no
    private latent leaks into another modality. loss = -(1/M) sum_m E log (1/K) sum_k weight_k. Here u is c and w is s.
    """

    def __init__(self, *args: Any, num_samples: int = 1, **kwargs: Any) -> None:
        """As `PrivateSharedVAE`, and `num_samples`, the K of the bound."""
        super().__init__(*args, **kwargs)
        self.num_samples = check_count(num_samples, "num_samples")
        self.auxiliary_mean = nn.ParameterDict(
            {name: torch.zeros(self.private_dim) for name in self.names}
        )
        self.auxiliary_logvar = nn.ParameterDict(
            {name: torch.zeros(self.private_dim) for name in self.names}
        )

    def private_prior(self, name: str, like: Tensor) -> DiagonalGaussian:
        """The learnt r_n(w), (n, P)."""
        shape = (len(like), self.private_dim)
        return DiagonalGaussian(
            self.auxiliary_mean[name].expand(shape), self.auxiliary_logvar[name].expand(shape)
        )

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        sets = self.latent_sets(batch)
        posterior = GaussianMixture.of_present(list(shared_of(sets).values()), batch.present)
        c = posterior.rsample_each(self.num_samples)  # (K, M, n, S)
        own = {
            name: latents.gaussian("s").rsample(self.num_samples) for name, latents in sets.items()
        }  # (K, n, P)
        scores = self.score(
            {"c": c} | {f"s_{name}": self._private(name, own, batch) for name in own}, batch
        )
        private_divergence = torch.stack(
            [
                sets[name].gaussian("s").log_prob(s) - self.standard_normal.log_prob(s)
                for name, s in own.items()
            ],
            1,
        )
        # (K, M, n)
        divergence = posterior.log_prob(c) - self.prior.log_prob(c) + private_divergence
        bound = bounds.iwae(self.weighted(scores) - self.beta * divergence)
        return MultimodalOutput.stratified(posterior, bound, scores, divergence)

    def joint_of(self, batch: MaskedBatch) -> GaussianMixture:
        """Uniform mixture of the present shared experts."""
        return GaussianMixture.of_present(list(self.encode(batch).values()), batch.present)

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """Product of the present experts on c; Palumbo et al. generate from one modality and leave several open."""
        return product_of_experts(
            list(self.encode(batch).values()), include_prior=False, mask=batch.present
        )

    def _private(self, target: str, own: dict[str, Tensor], batch: MaskedBatch) -> Tensor:
        """(K, M, n, P): the target's own draw where the source is the target, a draw from r_target elsewhere."""
        like = own[target]
        elsewhere = self.private_prior(target, like[0])
        return torch.stack(
            [
                like if source == target else elsewhere.rsample(self.num_samples)
                for source in batch.data
            ],
            1,
        )


def shared_of(sets: Mapping[str, LatentSet]) -> dict[str, DiagonalGaussian]:
    """The experts on c, by modality."""
    return {name: latents.gaussian("c") for name, latents in sets.items()}


def with_private(c: Posterior, sets: Mapping[str, LatentSet]) -> LatentSet:
    """One set of all latents: c, and s_m of each modality m."""
    return LatentSet({"c": c} | {f"s_{name}": latents["s"] for name, latents in sets.items()})
