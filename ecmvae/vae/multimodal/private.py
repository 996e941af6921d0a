"""DMVAE and MMVAE+: one shared latent and a private one for each modality.

Lee & Pavlovic, "Private-shared disentangled multimodal VAE", 2021 (arXiv:2012.13024); Palumbo et al., "MMVAE+", 2023.
Encoders return (shared, private), decoders read the two concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, product_of_experts, standard_normal_like
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.multimodal.base import MaskedBatch, Modalities, MultimodalOutput, MultimodalVAE, Presence

Pair = tuple[DiagonalGaussian, DiagonalGaussian]
"""(shared, private) posteriors of one modality."""


class SharedPrivateHead(nn.Module):
    """A feature to a shared and a private Gaussian."""

    def __init__(self, in_features: int, shared_dim: int, private_dim: int) -> None:
        super().__init__()
        self.shared, self.private = GaussianHead(in_features, shared_dim), GaussianHead(in_features, private_dim)

    def forward(self, features: Float[Tensor, "n f"]) -> Pair:
        """(n, F) -> (shared over S, private over P)."""
        return self.shared(features), self.private(features)


class PrivateSharedVAE(MultimodalVAE):
    """What DMVAE and MMVAE+ share. `latent_dim` is the shared width S; `private_dim` that of each private latent."""

    def __init__(self, *args: Any, private_dim: int, **kwargs: Any) -> None:
        """As `MultimodalVAE`, with encoders -> (shared, private) and decoders of (n, S + P)."""
        super().__init__(*args, **kwargs)
        self.private_dim = check_count(private_dim, "private_dim")

    def pairs(self, batch: MaskedBatch) -> dict[str, Pair]:
        """(shared, private) posteriors of every modality of the batch; meaningless where missing."""
        return {name: self.encoders[name](x) for name, x in batch.data.items()}

    def encode(self, batch: MaskedBatch) -> dict[str, DiagonalGaussian]:
        """The shared posteriors."""
        return {name: shared for name, (shared, _) in self.pairs(batch).items()}

    def private_prior(self, name: str, like: Tensor) -> DiagonalGaussian:
        """Where the private latent of a modality that was not seen comes from, (n, P)."""
        return standard_normal_like(like.new_zeros(len(like), self.private_dim))

    def generate(self, data: Modalities, targets: Sequence[str], present: Presence | None = None) -> dict[str, Tensor]:
        """Mean of each target: shared latent from all present modalities, private one its own or its prior's mode."""
        self._check_names(targets, self.encoders)
        batch = self.prepare(data, present)
        pairs, shared = self.pairs(batch), self.joint_of(batch).mode
        rows = dict(zip(batch.data, batch.present, strict=True))
        results = {}
        for name in targets:
            private = self.private_prior(name, shared).mode
            if name in pairs:
                private = torch.where(rows[name][:, None], pairs[name][1].mode, private)
            results[name] = self.likelihood(name).mean(self.decoders[name](torch.cat([shared, private], -1)))
        return results

    def _completed(self, shared: Tensor, generator: torch.Generator | None) -> Tensor:
        private = standard_normal_like(shared.new_zeros(len(shared), self.private_dim)).rsample(generator=generator)
        return torch.cat([shared, private], -1)

    def log_weights(self, data: Modalities, num_samples: int, present: Presence | None = None) -> Float[Tensor, "k n"]:
        """Log p(x, c, s) - log q(c, s|x), c from the joint posterior, each s_m from its own encoder."""
        check_count(num_samples, "num_samples")
        batch = self.prepare(data, present)
        pairs, posterior = self.pairs(batch), self.joint_of(batch)
        shared = posterior.rsample(num_samples)
        private = {name: pair[1].rsample(num_samples) for name, pair in pairs.items()}
        scores = self.score_each(lambda name: torch.cat([shared, private[name]], -1), batch)
        total = self.prior.log_prob(shared) - posterior.log_prob(shared)
        for (name, score), row in zip(scores.items(), batch.present, strict=True):
            s = private[name]
            total = (
                total + score + torch.where(row, standard_normal_like(s).log_prob(s) - pairs[name][1].log_prob(s), 0.0)
            )
        return total


class DMVAE(PrivateSharedVAE):
    """Shared posterior = prior times the present experts; each expert alone must explain all modalities too.

    loss = -sum over c ~ {PoE of all, each q_m(c)} of [sum_m lambda_m log p(x_m|c, s_m) - beta (KL(c || p) +
    sum_m KL(q(s_m|x_m) || p))].
    """

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        pairs = self.pairs(batch)
        private = {name: pair[1].rsample() for name, pair in pairs.items()}
        private_kl = torch.stack(
            [torch.where(row, pair[1].kl(), 0.0) for pair, row in zip(pairs.values(), batch.present, strict=True)]
        ).sum(0)
        posterior = product_of_experts([pair[0] for pair in pairs.values()], mask=batch.present)
        scores, kl = self._score(posterior, private, batch), self.prior.kl(posterior) + private_kl
        objective = bounds.elbo(self.weighted(scores), kl, self.beta)
        for (shared, _), row in zip(pairs.values(), batch.present, strict=True):
            alone = self._score(shared, private, batch)
            bound = bounds.elbo(self.weighted(alone), self.prior.kl(shared) + private_kl, self.beta)
            objective = objective + torch.where(row, bound, 0.0)
        return MultimodalOutput(loss=-objective.mean(), log_likelihoods=scores, kl=kl, posterior=posterior)

    def joint_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """Product of the prior and the present shared experts."""
        return product_of_experts(list(self.encode(batch).values()), mask=batch.present)

    def _score(self, shared: DiagonalGaussian, private: dict[str, Tensor], batch: MaskedBatch) -> dict[str, Tensor]:
        c = shared.rsample()
        return self.score_each(lambda name: torch.cat([c, private[name]], -1), batch)


class MMVAEPlus(PrivateSharedVAE):
    """Shared posterior = uniform mixture of the present experts; cross-modal terms draw the private latent elsewhere.

    For u, w_m ~ q(u, w_m|x_m) the log-weight is sum_n lambda_n log p(x_n|u, w) + beta [log p(u) p(w_m) - log (1/M)
    sum_j q_j(u) - log q(w_m|x_m)], where w is w_m for n = m and a draw from a learnt r_n otherwise, so that no
    private latent leaks into another modality. loss = -(1/M) sum_m E log (1/K) sum_k weight_k.
    """

    def __init__(self, *args: Any, num_samples: int = 1, **kwargs: Any) -> None:
        """As `PrivateSharedVAE`, and `num_samples`, the K of the bound."""
        super().__init__(*args, **kwargs)
        self.num_samples = check_count(num_samples, "num_samples")
        self.auxiliary_mean = nn.ParameterDict({name: torch.zeros(self.private_dim) for name in self.names})
        self.auxiliary_logvar = nn.ParameterDict({name: torch.zeros(self.private_dim) for name in self.names})

    def private_prior(self, name: str, like: Tensor) -> DiagonalGaussian:
        """The learnt r_n(w), (n, P)."""
        shape = (len(like), self.private_dim)
        return DiagonalGaussian(self.auxiliary_mean[name].expand(shape), self.auxiliary_logvar[name].expand(shape))

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        pairs = self.pairs(batch)
        posterior = GaussianMixture.of_present([pair[0] for pair in pairs.values()], batch.present)
        shared = posterior.rsample_each(self.num_samples)  # (K, M, n, S)
        own = {name: pair[1].rsample(self.num_samples) for name, pair in pairs.items()}  # each (K, n, P)
        scores = self.score_each(lambda name: torch.cat([shared, self._private(name, own, batch)], -1), batch)
        divergence = posterior.log_prob(shared) - self.prior.log_prob(shared)
        private_divergence = torch.stack(
            [pairs[name][1].log_prob(w) - standard_normal_like(w).log_prob(w) for name, w in own.items()], 1
        )
        divergence = divergence + private_divergence  # (K, M, n)
        bound = bounds.iwae(self.weighted(scores) - self.beta * divergence)
        return MultimodalOutput.stratified(posterior, bound, scores, divergence)

    def joint_of(self, batch: MaskedBatch) -> GaussianMixture:
        """Uniform mixture of the present shared experts."""
        return GaussianMixture.of_present(list(self.encode(batch).values()), batch.present)

    def _private(self, target: str, own: dict[str, Tensor], batch: MaskedBatch) -> Tensor:
        """(K, M, n, P): the target's own draw where the source is the target, a draw from r_target elsewhere."""
        like = own[target]
        elsewhere = self.private_prior(target, like[0])
        return torch.stack(
            [like if source == target else elsewhere.rsample(self.num_samples) for source in batch.data], 1
        )
