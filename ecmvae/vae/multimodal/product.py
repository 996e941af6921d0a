"""MVAE (product of experts) and JMVAE (joint encoder).

Wu & Goodman, 2018 (arXiv:1802.05335); Suzuki et al., "Joint multimodal learning with deep generative models", 2016
(arXiv:1611.01891).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts
from ecmvae.vae.multimodal.base import MaskedBatch, MultimodalOutput, MultimodalVAE


class MVAE(MultimodalVAE):
    """Joint posterior = prior times the experts that are present.

    loss = -[ELBO(all) + sum_m ELBO(m alone) + sum_k ELBO(random subset k)], ELBO(S) = sum_(m in S) lambda_m
    log p(x_m|z) - beta KL(PoE_S || p).
    """

    def __init__(self, *args: Any, random_subsets: int = 0, **kwargs: Any) -> None:
        """As `MultimodalVAE`, and `random_subsets`, the number k of random subsets of the loss."""
        super().__init__(*args, **kwargs)
        self.random_subsets = random_subsets

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        experts = list(self.encode(batch).values())
        posterior, scores, kl = self._subset(experts, batch, batch.present)
        objective = bounds.elbo(self.weighted(scores), kl, self.beta)
        for subset in self._subsets(batch):
            _, subset_scores, subset_kl = self._subset(experts, batch, subset)
            bound = bounds.elbo(self.weighted(subset_scores), subset_kl, self.beta)
            objective = objective + torch.where(subset.any(0), bound, 0.0)
        return MultimodalOutput(
            loss=-objective.mean(), log_likelihoods=scores, kl=kl, posterior=posterior
        )

    def joint_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """Product of the prior and the present experts."""
        return product_of_experts(list(self.encode(batch).values()), mask=batch.present)

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """The joint posterior itself, as Wu & Goodman generate."""
        return self.joint_of(batch)

    def _subset(
        self, experts: list[DiagonalGaussian], batch: MaskedBatch, mask: Tensor
    ) -> tuple[DiagonalGaussian, dict[str, Tensor], Tensor]:
        posterior = product_of_experts(experts, mask=mask)
        scores = self.score({"z": posterior.rsample()}, MaskedBatch(data=batch.data, present=mask))
        return posterior, scores, self.prior.kl(posterior)

    def _subsets(self, batch: MaskedBatch) -> list[Tensor]:
        """Masks (M, n) of the single modalities and of k random subsets of at least one; none for one modality."""
        count = len(batch.present)
        if count == 1:
            return []
        rows = list(torch.eye(count, dtype=torch.bool, device=batch.present.device))
        for _ in range(self.random_subsets):
            row = torch.rand(count, device=batch.present.device) < 0.5
            row[torch.randint(count, ())] = True
            rows.append(row)
        return [row[:, None] & batch.present for row in rows]


class JMVAE(MultimodalVAE):
    """An encoder of all modalities together, to which the encoders of single ones are drawn.

    loss = -[sum_m lambda_m log p(x_m|z) - beta KL(q(z|X) || p)] + alpha sum_m KL(q(z|X) || q_m(z|x_m)). Training needs
    complete data; with modalities missing the posterior is the product of the single encoders, without the prior.
    """

    def __init__(
        self, *args: Any, joint_encoder: nn.Module, alpha: float = 0.1, **kwargs: Any
    ) -> None:
        """As `MultimodalVAE`, and two more.

        `joint_encoder` is called with every modality's data, in order, and gives a `DiagonalGaussian`; `alpha` weighs
        the KL to the single encoders.
        """
        super().__init__(*args, **kwargs)
        if alpha < 0:
            raise ValueError(f"alpha must be >= 0, got {alpha}")
        self.joint_encoder, self.alpha = joint_encoder, alpha

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        if not self._complete(batch):
            raise ValueError(
                f"JMVAE learns from complete samples: give {', '.join(self.names)} for each, or train MVAE"
            )
        posterior = self.joint_of(batch)
        scores, kl = self.score({"z": posterior.rsample()}, batch), self.prior.kl(posterior)
        to_single = torch.stack(
            [posterior.kl(single) for single in self.encode(batch).values()]
        ).sum(0)
        objective = bounds.elbo(self.weighted(scores), kl, self.beta) - self.alpha * to_single
        return MultimodalOutput(
            loss=-objective.mean(), log_likelihoods=scores, kl=kl, posterior=posterior
        )

    def joint_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """The joint encoder for complete data, otherwise the product of the present single ones."""
        if self._complete(batch):
            posterior: DiagonalGaussian = self.joint_encoder(*batch.data.values())
            return posterior
        return product_of_experts(
            list(self.encode(batch).values()), include_prior=False, mask=batch.present
        )

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """The joint posterior itself; Suzuki et al. generate from complete data or from one modality."""
        return self.joint_of(batch)

    def _complete(self, batch: MaskedBatch) -> bool:
        return len(batch.data) == len(self.names) and bool(batch.present.all())
