"""MMVAE (mixture of experts), MoPoE (mixture of products) and mmJSD.

Shi et al., 2019 (arXiv:1911.03393); Sutter et al., "Generalized multimodal ELBO", 2021 (arXiv:2105.02470); Sutter et
al., 2020 (arXiv:2006.08242). DReG gradients: Tucker et al., 2019 (arXiv:1810.04152).
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from ecmvae.vae import bounds
from ecmvae.vae.divergences import mmjsd
from ecmvae.vae.gaussian import (
    DiagonalGaussian,
    check_count,
    product_of_experts,
    standard_normal_like,
)
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.multimodal.base import MaskedBatch, MultimodalOutput, MultimodalVAE
from ecmvae.vae.priors import StandardNormal


class MMVAE(MultimodalVAE):
    """Joint posterior = uniform mixture of the experts that are present.

    loss = -(1/M) sum_m E_(z_1..K ~ q_m) log (1/K) sum_k p(z_k)^beta prod_m p(x_m|z_k)^lambda_m / q(z_k|X)^beta.
    """

    def __init__(
        self,
        *args: Any,
        num_samples: int = 1,
        gradient: Literal["iwae", "dreg"] = "iwae",
        **kwargs: Any,
    ) -> None:
        """As `MultimodalVAE`, with K = `num_samples` and a choice of the gradient.

        "dreg" is the doubly reparameterised gradient of the same value, as Shi et al. take it: lower variance for
        K > 1. It is unbiased for one modality or K = 1; for more, samples of one expert are weighed by the density of
        the mixture, for which the identity behind it holds only nearly.
        """
        super().__init__(*args, **kwargs)
        self.num_samples, self.gradient = check_count(num_samples, "num_samples"), gradient

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        posterior = self.joint_of(batch)
        z = posterior.rsample_each(self.num_samples)  # (K, M, n, L)
        density = posterior if self.gradient == "iwae" else posterior.detach()
        scores = self.score({"z": z}, batch)  # each (K, M, n)
        divergence = density.log_prob(z) - self.prior.log_prob(z)
        log_weights = self.weighted(scores) - self.beta * divergence
        bound = bounds.iwae(log_weights) if self.gradient == "iwae" else dreg(log_weights, z)
        return MultimodalOutput.stratified(posterior, bound, scores, divergence)

    def joint_of(self, batch: MaskedBatch) -> GaussianMixture:
        """Uniform mixture of the present experts."""
        return GaussianMixture.of_present(list(self.encode(batch).values()), batch.present)

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """Product of the present experts; Shi et al. generate from one modality only and leave several open.

        Product, product with the prior, the mixture's mean and one expert are compared by `tools/coherence_rules.py`.
        """
        return product_of_experts(
            list(self.encode(batch).values()), include_prior=False, mask=batch.present
        )


class MoPoE(MultimodalVAE):
    """Joint posterior = uniform mixture of the products over every non-empty subset of the present modalities.

    loss = -[E_q sum_m lambda_m log p(x_m|z) - beta mean_S KL(PoE_S || p)]; the mean bounds KL(q || p) from above.
    """

    def __init__(
        self, *args: Any, prior_expert: Literal["every", "full"] = "every", **kwargs: Any
    ) -> None:
        """As `MultimodalVAE`, and `prior_expert`: the prior is a factor of every subset, or of the full one only.

        "full" is what the authors' code does.
        """
        super().__init__(*args, **kwargs)
        self.prior_expert = prior_expert

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        posterior = self.joint_of(batch)
        scores = self.score({"z": posterior.rsample()}, batch)
        kl = posterior.average(self.prior.kl(posterior.components))
        loss = -bounds.elbo(self.weighted(scores), kl, self.beta).mean()
        return MultimodalOutput(loss=loss, log_likelihoods=scores, kl=kl, posterior=posterior)

    def joint_of(self, batch: MaskedBatch) -> GaussianMixture:
        """Mixture over subsets; a subset with a missing member has weight 0."""
        experts = list(self.encode(batch).values())
        products, rows = [], []
        for size in range(1, len(experts) + 1):
            for subset in combinations(range(len(experts)), size):
                include_prior = self.prior_expert == "every" or size == len(self.names)
                products.append(
                    product_of_experts([experts[index] for index in subset], include_prior)
                )
                rows.append(batch.present[list(subset)].all(0))
        return GaussianMixture.of_present(products, torch.stack(rows))

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """The component of all present modalities, their product, as Sutter et al. generate from a subset."""
        experts = list(self.encode(batch).values())
        whole = len(batch.data) == len(self.names)
        prior_row = (
            batch.present.all(0) & whole
            if self.prior_expert == "full"
            else torch.ones_like(batch.present[0])
        )
        return product_of_experts(
            [*experts, standard_normal_like(experts[0].mean)],
            include_prior=False,
            mask=torch.cat([batch.present, prior_row[None]]),
        )


class MMJSD(MultimodalVAE):
    """Joint posterior = mixture of the experts that are present, held together by a Jensen-Shannon divergence.

    loss = -[E_(q MoE) sum_m lambda_m log p(x_m|z) - beta sum_k w_k KL(q_k || G)], k over the present experts and the
    prior with equal weights w, G their geometric mean (the dynamic prior), which needs a Gaussian prior: N(0, I).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As `MultimodalVAE`.

        Raises:
            ValueError: For another prior than the standard normal, and as `MultimodalVAE`.
        """
        super().__init__(*args, **kwargs)
        if not isinstance(self.prior, StandardNormal):
            raise ValueError(
                f"MMJSD needs the standard normal prior, not {type(self.prior).__name__}: use MoPoE"
            )

    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        experts = list(self.encode(batch).values())
        posterior = GaussianMixture.of_present(experts, batch.present)
        members = torch.cat([batch.present, torch.ones_like(batch.present[:1])]).to(
            experts[0].mean.dtype
        )
        divergence = mmjsd(experts, members / members.sum(0))
        scores = self.score({"z": posterior.rsample()}, batch)
        loss = -bounds.elbo(self.weighted(scores), divergence, self.beta).mean()
        return MultimodalOutput(
            loss=loss, log_likelihoods=scores, kl=divergence, posterior=posterior
        )

    def joint_of(self, batch: MaskedBatch) -> GaussianMixture:
        """Uniform mixture of the present experts."""
        return GaussianMixture.of_present(list(self.encode(batch).values()), batch.present)

    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """Product of the present experts, as the dynamic prior is, without the standard normal's share.

        The authors' code takes one expert at random instead, which leaves the others unheard.
        """
        return product_of_experts(
            list(self.encode(batch).values()), include_prior=False, mask=batch.present
        )


def dreg(log_weights: Tensor, z: Tensor) -> Tensor:
    """`bounds.iwae` of log-weights (K, ...), with the doubly reparameterised gradient.

    Their posterior density is taken with detached parameters; z (K, ..., L) are the samples behind them.
    """
    shares = torch.softmax(log_weights, 0).detach()
    if z.requires_grad:  # without gradients there is nothing to hook
        z.register_hook(lambda gradient: shares.unsqueeze(-1) * gradient)  # type: ignore[no-untyped-call]
    surrogate = (shares * log_weights).sum(0)
    return bounds.iwae(log_weights).detach() + surrogate - surrogate.detach()
