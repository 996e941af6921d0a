"""Bounds on log p(x) and on mutual information, as pure functions, all in nats.

Burda et al., "Importance weighted autoencoders", 2016 (arXiv:1509.00519); Barber & Agakov, "The IM algorithm", 2003;
van den Oord et al., "Contrastive predictive coding", 2018 (arXiv:1807.03748); Cheng et al., "CLUB", 2020
(arXiv:2006.12013); Belghazi et al., "MINE", 2018 (arXiv:1801.04062) for Donsker-Varadhan; Nguyen, Wainwright & Jordan,
2010 (arXiv:0809.0853). Critics' scores are (n, n): row i holds x_i against all y_j, the pairs stand on the diagonal.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae.gaussian import DiagonalGaussian


def elbo(
    reconstruction_log_prob: Float[Tensor, "..."], kl: Float[Tensor, "..."], beta: float = 1.0
) -> Float[Tensor, "..."]:
    """Evidence lower bound log p(x|z) - beta KL(q || p), per sample and not negated.

    Only with beta = 1 is its mean a bound on log p(x) whatever the encoder. Both terms are summed over dimensions.
    """
    if beta < 0:
        raise ValueError(
            f"beta must be >= 0, got {beta}: a negative weight would reward distance from the prior"
        )
    return reconstruction_log_prob - beta * kl


def iwae(log_weights: Float[Tensor, "k ..."]) -> Float[Tensor, "..."]:
    """Importance-weighted bound log(1/K sum_k w_k), (K, ...) -> (...,).

    With w_k = p(x, z_k) / q(z_k | x) its mean grows with K from the ELBO (K = 1) towards log p(x), from below; with a
    large K it is the importance-sampling estimate of log p(x).
    """
    if log_weights.ndim == 0 or log_weights.shape[0] < 1:
        raise ValueError(
            "iwae needs K >= 1 log-weights on the first axis, got shape "
            + str(tuple(log_weights.shape))
        )
    return torch.logsumexp(log_weights, 0) - math.log(log_weights.shape[0])


def barber_agakov(
    y: Float[Tensor, "n d"], conditional: DiagonalGaussian, entropy_y: float | Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Lower bound I(x; y) >= H(y) + E log q(y|x), of y (n, D) and q(y|x_i) for each row.

    With `entropy_y`, H(y) in nats, at 0 it is the part that depends on q.
    """
    return conditional.log_prob(y).mean() + entropy_y


def info_nce(scores: Float[Tensor, "n _"]) -> Float[Tensor, ""]:
    """Lower bound of van den Oord et al., at most log n.

    mean_i [f(x_i, y_i) - log 1/n sum_j exp f(x_i, y_j)].
    """
    pairs = _paired(scores)
    return (pairs - torch.logsumexp(scores, 1)).mean() + math.log(scores.shape[0])


def club(y: Float[Tensor, "n d"], conditional: DiagonalGaussian) -> Float[Tensor, ""]:
    """Contrastive log-ratio upper bound: mean log q(y_i|x_i) minus the mean of log q(y_j|x_i) over all pairs i, j.

    An upper bound on I(x; y) when q is the true conditional, or nearer to p(x, y) in KL than to p(x) p(y); y is (n, D).
    """
    against_all = DiagonalGaussian(
        conditional.mean.unsqueeze(1), conditional.logvar.unsqueeze(1)
    ).log_prob(y)
    return conditional.log_prob(y).mean() - against_all.mean()


def donsker_varadhan(scores: Float[Tensor, "n _"]) -> Float[Tensor, ""]:
    """Lower bound E_p(x,y) T - log E_p(x)p(y) e^T, the marginals' product taken over the n(n-1) unmatched pairs."""
    pairs, log_mean = _pairs_and_log_mean(scores)
    return pairs.mean() - log_mean


def nwj(scores: Float[Tensor, "n _"]) -> Float[Tensor, ""]:
    """Lower bound E_p(x,y) T - E_p(x)p(y) e^(T-1) of Nguyen, Wainwright & Jordan, over the same pairs."""
    pairs, log_mean = _pairs_and_log_mean(scores)
    return pairs.mean() - (log_mean - 1.0).exp()


def mine(
    scores: Float[Tensor, "n _"], running_mean: Float[Tensor, ""], decay: float = 0.99
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Donsker-Varadhan bound with MINE's gradient: the denominator's gradient is divided by a moving average.

    `running_mean` is the average of E e^T so far, 1 at first; `decay` the share of it that is kept. Gives the bound,
    whose value is `donsker_varadhan(scores)`, and the next `running_mean`.
    """
    pairs, log_mean = _pairs_and_log_mean(scores)
    mean = log_mean.exp()
    running_mean = (decay * running_mean + (1.0 - decay) * mean).detach()
    # Value of log_mean, gradient of mean / running_mean: unbiased as the average settles.
    corrected = mean / running_mean
    return pairs.mean() - (log_mean.detach() + corrected - corrected.detach()), running_mean


def _paired(scores: Tensor) -> Tensor:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(
            f"scores must be square (n, n), row i = x_i against all y_j, got {tuple(scores.shape)}"
        )
    return scores.diagonal()


def _pairs_and_log_mean(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal (n,) and log of the mean of e^T off the diagonal."""
    pairs, count = _paired(scores), scores.shape[0]
    if count < 2:
        raise ValueError("a bound over unmatched pairs needs at least 2 samples, got 1")
    off_diagonal = scores.masked_fill(
        torch.eye(count, dtype=torch.bool, device=scores.device), -math.inf
    )
    return pairs, torch.logsumexp(off_diagonal.flatten(), 0) - math.log(count * (count - 1))
