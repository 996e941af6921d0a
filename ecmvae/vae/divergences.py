"""Divergences beyond `DiagonalGaussian.kl`: discrete, skewed geometric, mmJSD's over many experts, a KL for training.

Deasy et al., "Constraining variational inference with geometric Jensen-Shannon divergence", 2020 (arXiv:2006.10599);
Sutter et al., "Multimodal generative learning utilizing Jensen-Shannon divergence", 2020 (arXiv:2006.08242); Kingma et
al., "Improving variational inference with inverse autoregressive flow", 2016 (arXiv:1606.04934) for free bits; Hafner
et al., "Mastering Atari with discrete world models", 2021 (arXiv:2010.02193) for KL balancing.
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


def dual_geometric_js(
    p: DiagonalGaussian, q: DiagonalGaussian, alpha: float = 0.5
) -> Float[Tensor, "..."]:
    """(1 - alpha) KL(G || p) + alpha KL(G || q) = -log integral of p^(1-alpha) q^alpha, in nats.

    G is proportional to p^(1-alpha) q^alpha. It is 0 at alpha 0 and 1.
    """
    center = geometric_mean([p, q], [1.0 - alpha, alpha])
    return (1.0 - alpha) * center.kl(p) + alpha * center.kl(q)


def deasy_geometric_js(
    p: DiagonalGaussian, q: DiagonalGaussian, alpha: float = 0.5
) -> Float[Tensor, "..."]:
    """Deasy's variant with reversed weights in G, in nats: KL(p || q) at alpha 0 and KL(q || p) at alpha 1.

    (1 - alpha) KL(p || G') + alpha KL(q || G') with G' proportional to p^alpha q^(1-alpha).
    """
    center = geometric_mean([p, q], [alpha, 1.0 - alpha])
    return (1.0 - alpha) * p.kl(center) + alpha * q.kl(center)


def dynamic_prior(
    experts: Sequence[DiagonalGaussian],
    weights: Sequence[float] | Float[Tensor, "k ..."] | None = None,
) -> DiagonalGaussian:
    """MmJSD's dynamic prior: the geometric mean of M experts over (..., L) and the standard normal.

    `weights` are M + 1 numbers summing to 1, the prior's last, or (M + 1, ...) for every sample; None is uniform.
    """
    return geometric_mean(_with_prior(experts), _uniform(weights, len(experts) + 1))


def mmjsd(
    experts: Sequence[DiagonalGaussian],
    weights: Sequence[float] | Float[Tensor, "k ..."] | None = None,
) -> Float[Tensor, "..."]:
    """Jensen-Shannon divergence of M experts and the standard normal around their dynamic prior, in nats (...,).

    sum_k w_k KL(q_k || G), k over the experts and the prior; arguments as in `dynamic_prior`.
    """
    members, weights = _with_prior(experts), _uniform(weights, len(experts) + 1)
    center = geometric_mean(members, weights)
    return torch.stack(
        [weight * member.kl(center) for member, weight in zip(members, weights, strict=True)]
    ).sum(0)


def free_bits(kl_by_dimension: Float[Tensor, "... l"], nats: float) -> Float[Tensor, "..."]:
    """KL summed over L, in which a dimension costs at least `nats` and is not pushed below that.

    A dimension whose KL has a batch mean (over the leading axes) below `nats` counts as `nats` and has no gradient, so
    the mean of the result is sum_l max(nats, mean KL_l).

    Args:
        kl_by_dimension: KL of every dimension, for instance `DiagonalGaussian.kl_per_dimension`.
        nats: Free nats of each dimension; 0 is the plain sum.

    Raises:
        ValueError: When `nats` is negative.
    """
    if check_free_bits(nats) == 0:
        return kl_by_dimension.sum(-1)
    batch_mean = kl_by_dimension.detach().flatten(0, -2).mean(0)
    return torch.where(batch_mean > nats, kl_by_dimension, nats).sum(-1)


def balanced_kl_per_dimension(
    posterior: DiagonalGaussian, prior: DiagonalGaussian, alpha: float = 0.8
) -> Float[Tensor, "... l"]:
    """`balanced_kl` before the sum over L, for `free_bits`."""
    check_share(alpha)
    to_prior, to_posterior = (
        posterior.detach().kl_per_dimension(prior),
        posterior.kl_per_dimension(prior.detach()),
    )
    return alpha * to_prior + (1.0 - alpha) * to_posterior


def balanced_kl(
    posterior: DiagonalGaussian, prior: DiagonalGaussian, alpha: float = 0.8
) -> Float[Tensor, "..."]:
    """KL(posterior || prior), of whose gradient a share `alpha` goes to the prior and the rest to the posterior.

    alpha KL(sg(q) || p) + (1 - alpha) KL(q || sg(p)), sg stopping the gradient: with alpha above 1/2 the prior learns
    to predict the posterior sooner than the posterior gives up information. At 1/2 it is half the KL's gradient.

    Args:
        posterior: q over (..., L).
        prior: p of the same shape.
        alpha: Share of the prior, in [0, 1]; Dreamer v2 takes 0.8.

    Raises:
        ValueError: When `alpha` is outside [0, 1].
    """
    return balanced_kl_per_dimension(posterior, prior, alpha).sum(-1)


def check_free_bits(nats: float) -> float:
    """`nats` itself; a negative number is a `ValueError`."""
    if nats < 0:
        raise ValueError(f"free bits must be >= 0 nats a dimension, got {nats}")
    return nats


def check_share(alpha: float) -> float:
    """`alpha` itself; a number outside [0, 1] is a `ValueError`."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"the prior's share of the KL must be between 0 and 1, got {alpha}")
    return alpha


def check_table(table: Float[Tensor, "... k"]) -> None:
    """Refuse a table with a negative or NaN entry, or a row that does not sum to 1, by a `ValueError`."""
    if not (table >= 0).all() or not torch.allclose(table.sum(-1), table.new_ones(()), atol=1e-5):
        raise ValueError(
            "a probability table needs entries >= 0 that sum to 1 over the last axis: normalise it"
        )


def _with_prior(experts: Sequence[DiagonalGaussian]) -> list[DiagonalGaussian]:
    if not experts:
        raise ValueError("a divergence of experts needs at least one: give a non-empty list")
    return [*experts, standard_normal_like(experts[0].mean)]


def _uniform(weights: Sequence[float] | Tensor | None, count: int) -> Sequence[float] | Tensor:
    return [1.0 / count] * count if weights is None else weights
