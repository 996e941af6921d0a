"""Outliers, debiasing and memorisation: what a model says about single samples.

Rarity weights: Amini et al., "Uncovering and mitigating algorithmic bias through learned latent structure", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.gaussian import check_count
from ecmvae.vae.latent_space import nearest
from ecmvae.vae.metrics import auroc
from ecmvae.vae.vae import VAE


@torch.no_grad()
def outlier_scores(
    model: AutoEncoder | VAE,
    x: Float[Tensor, "n ..."],
    *,
    num_samples: int = 1,
    batch_size: int = 500,
) -> Float[Tensor, " n"]:
    """High where a model in eval mode does not know x: -log p(x|code) of an autoencoder, -IWAE(K) of a VAE, in nats.

    K is `num_samples`, 1 for the -ELBO; an autoencoder is deterministic and ignores it.
    """
    check_count(num_samples, "num_samples")
    parts = []
    for part in torch.split(x, batch_size):
        if isinstance(model, VAE):
            parts.append(-model.log_likelihood(part, num_samples=num_samples))
        else:
            parts.append(-model(part).log_likelihood)
    return torch.cat(parts)


@dataclass(frozen=True)
class OutlierThreshold:
    """A score above which a sample counts as an outlier."""

    value: float

    @classmethod
    def calibrate(
        cls, inlier_scores: Float[Tensor, " n"], false_positive_rate: float
    ) -> OutlierThreshold:
        """The quantile that flags about `false_positive_rate` of such inliers: calibrate on held-out ones."""
        if not 0.0 < false_positive_rate < 1.0:
            raise ValueError(
                f"false_positive_rate must be between 0 and 1, got {false_positive_rate}"
            )
        check_count(len(inlier_scores), "the number of inlier scores")
        return cls(float(torch.quantile(inlier_scores.double(), 1.0 - false_positive_rate)))

    def flag(self, scores: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """True for outliers."""
        return scores > self.value


def rarity_weights(
    codes: Float[Tensor, "n l"],
    *,
    bins: int = 10,
    smoothing: float = 0.001,
    dimensions: int | None = 20,
    effective_share: float = 0.1,
) -> Float[Tensor, " n"]:
    """Sampling weights that favour rare latent codes, with mean 1: proportional to prod_l 1 / (density_l + smoothing).

    The density is a histogram's. Two guards keep the product from degenerating in a space of many dimensions, where it
    would give nearly all weight to a handful of samples: it runs over the dimensions whose codes vary most, since those
    that the model does not use hold noise; and where the effective sample size (sum w)^2 / sum w^2 is still below a
    share of n, the weights are raised to the largest power between 0 and 1 that reaches it.

    Args:
        codes: Means of the posterior.
        bins: Of each histogram.
        smoothing: A larger one is nearer to uniform weights.
        dimensions: How many of the L dimensions count, those of the largest variance; None is all.
        effective_share: Smallest effective sample size, as a share of n; 0 leaves the product as it is.
    """
    check_count(bins, "bins")
    if not smoothing > 0:
        raise ValueError(f"smoothing must be > 0, got {smoothing}")
    if not 0.0 <= effective_share < 1.0:
        raise ValueError(f"effective_share must be at least 0 and below 1, got {effective_share}")
    values = codes.double().cpu()
    if dimensions is not None and check_count(dimensions, "dimensions") < values.shape[1]:
        values = values[:, values.var(0).topk(dimensions).indices]
    log_weights = torch.zeros(len(codes), dtype=torch.float64)
    for column in values.T:
        low, high = column.min(), column.max()
        index = ((column - low) / (high - low).clamp_min(1e-12) * bins).long().clamp_max(bins - 1)
        density = torch.bincount(index, minlength=bins).double() / len(column)
        log_weights -= (density[index] + smoothing).log()
    weights = torch.softmax(_tempering(log_weights, effective_share) * log_weights, 0) * len(codes)
    return weights.to(codes.dtype).to(codes.device)


def effective_sample_size(log_weights: Float[Tensor, " n"]) -> float:
    """(sum w)^2 / sum w^2 of unnormalised log-weights: n where they are equal, 1 where one weight has all."""
    values = log_weights.double()
    return float((2 * values.logsumexp(0) - (2 * values).logsumexp(0)).exp())


def _tempering(log_weights: Tensor, effective_share: float) -> float:
    """The largest power between 0 and 1 at which the effective sample size is that share of n, by bisection."""
    wanted = effective_share * len(log_weights)
    if effective_sample_size(log_weights) >= wanted:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if effective_sample_size(middle * log_weights) >= wanted
            else (low, middle)
        )
    return low


@dataclass(frozen=True)
class MemorisationCheck:
    """Are generated samples nearer to the training data than unseen real data are?

    Distances are medians to the nearest training sample. `nearer_share` is the chance that a generated sample is nearer
    than a test sample: 0.5 is what chance gives, 1 is copying. Blurry samples are near to everything.
    """

    sample_distance: float
    test_distance: float
    nearer_share: float


def memorisation_check(
    samples: Float[Tensor, "s ..."], train: Float[Tensor, "n ..."], test: Float[Tensor, "t ..."]
) -> MemorisationCheck:
    """Compare nearest-training-sample distances of generated and of test samples, in the space they are given in."""
    of_samples = nearest(samples.flatten(1), train.flatten(1))[0][:, 0]
    of_test = nearest(test.flatten(1), train.flatten(1))[0][:, 0]
    is_test = torch.cat([torch.zeros(len(of_samples)), torch.ones(len(of_test))]).bool()
    return MemorisationCheck(
        sample_distance=float(of_samples.median()),
        test_distance=float(of_test.median()),
        nearer_share=auroc(torch.cat([of_samples, of_test]).cpu(), is_test),
    )
