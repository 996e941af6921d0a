"""Divergences beyond `DiagonalGaussian.kl`: discrete ones, skewed geometric ones, and mmJSD's over many experts.

Deasy et al., "Constraining variational inference with geometric Jensen-Shannon divergence", 2020 (arXiv:2006.10599);
Sutter et al., "Multimodal generative learning utilizing Jensen-Shannon divergence", 2020 (arXiv:2006.08242).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae.gaussian import DiagonalGaussian, geometric_mean, standard_normal_like


def discrete_kl(p: Float[Tensor, "... k"], q: Float[Tensor, "... k"]) -> Float[Tensor, "..."]:
    """KL(p || q) of probability tables over the last axis, in nats; +inf where q = 0 < p."""
    for table in (p, q):
        check_table(table)
    return torch.where(p > 0, torch.special.xlogy(p, p) - p * q.log(), 0.0).sum(-1)


def discrete_js(p: Float[Tensor, "... k"], q: Float[Tensor, "... k"]) -> Float[Tensor, "..."]:
    """Jensen-Shannon divergence of probability tables over the last axis, in nats, between 0 and ln 2."""
    mixture = 0.5 * (p + q)
    return 0.5 * discrete_kl(p, mixture) + 0.5 * discrete_kl(q, mixture)


def dual_geometric_js(p: DiagonalGaussian, q: DiagonalGaussian, alpha: float = 0.5) -> Float[Tensor, "..."]:
    """(1 - alpha) KL(G || p) + alpha KL(G || q) = -log integral of p^(1-alpha) q^alpha, in nats.

    G is proportional to p^(1-alpha) q^alpha. It is 0 at alpha 0 and 1.
    """
    center = geometric_mean([p, q], [1.0 - alpha, alpha])
    return (1.0 - alpha) * center.kl(p) + alpha * center.kl(q)


def deasy_geometric_js(p: DiagonalGaussian, q: DiagonalGaussian, alpha: float = 0.5) -> Float[Tensor, "..."]:
    """Deasy's variant with reversed weights in G, in nats: KL(p || q) at alpha 0 and KL(q || p) at alpha 1.

    (1 - alpha) KL(p || G') + alpha KL(q || G') with G' proportional to p^alpha q^(1-alpha).
    """
    center = geometric_mean([p, q], [alpha, 1.0 - alpha])
    return (1.0 - alpha) * p.kl(center) + alpha * q.kl(center)


def dynamic_prior(
    experts: Sequence[DiagonalGaussian], weights: Sequence[float] | Float[Tensor, "k ..."] | None = None
) -> DiagonalGaussian:
    """MmJSD's dynamic prior: the geometric mean of M experts over (..., L) and the standard normal.

    `weights` are M + 1 numbers summing to 1, the prior's last, or (M + 1, ...) for every sample; None is uniform.
    """
    return geometric_mean(_with_prior(experts), _uniform(weights, len(experts) + 1))


def mmjsd(
    experts: Sequence[DiagonalGaussian], weights: Sequence[float] | Float[Tensor, "k ..."] | None = None
) -> Float[Tensor, "..."]:
    """Jensen-Shannon divergence of M experts and the standard normal around their dynamic prior, in nats (...,).

    sum_k w_k KL(q_k || G), k over the experts and the prior; arguments as in `dynamic_prior`.
    """
    members, weights = _with_prior(experts), _uniform(weights, len(experts) + 1)
    center = geometric_mean(members, weights)
    return torch.stack([weight * member.kl(center) for member, weight in zip(members, weights, strict=True)]).sum(0)


def check_table(table: Float[Tensor, "... k"]) -> None:
    """Refuse a table with a negative or NaN entry, or a row that does not sum to 1, by a `ValueError`."""
    if not (table >= 0).all() or not torch.allclose(table.sum(-1), table.new_ones(()), atol=1e-5):
        raise ValueError("a probability table needs entries >= 0 that sum to 1 over the last axis: normalise it")


def _with_prior(experts: Sequence[DiagonalGaussian]) -> list[DiagonalGaussian]:
    if not experts:
        raise ValueError("a divergence of experts needs at least one: give a non-empty list")
    return [*experts, standard_normal_like(experts[0].mean)]


def _uniform(weights: Sequence[float] | Tensor | None, count: int) -> Sequence[float] | Tensor:
    return [1.0 / count] * count if weights is None else weights
