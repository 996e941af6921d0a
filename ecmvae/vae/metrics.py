"""Numbers about a trained model: bounds on log p(x), sample quality, latent use, outliers.

Frechet inception distance (Heusel et al., 2017, arXiv:1706.08500) and inception score (Salimans et al., 2016,
arXiv:1606.03498) come from torchmetrics and take any feature network; without one they would need a download.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.divergences import discrete_kl
from ecmvae.vae.gaussian import check_count
from ecmvae.vae.vae import VAE


@torch.no_grad()
def bound_report(
    model: VAE, x: Float[Tensor, "n ..."], *, num_samples: int = 50, batch_size: int = 100
) -> dict[str, float]:
    """Mean -ELBO, -IWAE(K), reconstruction and KL over x under the model's prior, in nats per sample, from K draws.

    The -ELBO is the mean over the same K = `num_samples` draws, so -IWAE <= -ELBO holds for every estimate.
    `batch_size` samples are decoded K times at once; give the model in eval mode.
    """
    check_count(num_samples, "num_samples")
    check_count(len(x), "the number of samples")
    totals = torch.zeros(3, dtype=torch.float64)
    for part in torch.split(x, check_count(batch_size, "batch_size")):
        log_weights = model.log_weights(part, num_samples=num_samples).double()
        kl = model.kl(part, num_samples).double()
        totals += torch.stack(
            [log_weights.mean(0).sum(), bounds.iwae(log_weights).sum(), kl.sum()]
        ).cpu()
    negative_elbo, negative_iwae, kl_mean = (
        -totals[0] / len(x),
        -totals[1] / len(x),
        totals[2] / len(x),
    )
    return {
        "negative_elbo": float(negative_elbo),
        f"negative_iwae_{num_samples}": float(negative_iwae),
        "kl": float(kl_mean),
        "reconstruction": float(negative_elbo - kl_mean),
    }


def perplexity(log_probs: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """exp(-mean log p): V for a uniform choice among V."""
    return (-log_probs.mean()).exp()


def auroc(scores: Float[Tensor, " n"], is_outlier: Bool[Tensor, " n"]) -> float:
    """Area under the ROC curve: the chance that an outlier scores higher than an inlier."""
    from torchmetrics.functional.classification import binary_auroc

    if is_outlier.all() or not is_outlier.any():
        raise ValueError("AUROC needs inliers and outliers: give at least one of each")
    # torchmetrics squashes scores outside [0, 1] by a sigmoid, which ties large ones: hand it ranks.
    ranks = torch.unique(scores, return_inverse=True)[1].double()
    return float(binary_auroc(ranks / ranks.max().clamp_min(1.0), is_outlier.long()))


def frechet_distance(
    mean_a: Float[Tensor, " d"],
    covariance_a: Float[Tensor, "d d"],
    mean_b: Float[Tensor, " d"],
    covariance_b: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two Gaussians; works for singular covariances."""
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * _root(values)) @ vectors.T
    cross = _root(torch.linalg.eigvalsh(root @ covariance_b @ root)).sum()
    distance: Tensor = (
        ((mean_a - mean_b) ** 2).sum() + covariance_a.trace() + covariance_b.trace() - 2.0 * cross
    )
    return distance


@torch.no_grad()
def feature_fid(
    real: Float[Tensor, "n ..."],
    generated: Float[Tensor, "m ..."],
    features: nn.Module,
    *,
    batch_size: int = 500,
) -> float:
    """Frechet distance between two image sets in the feature space of a network (k, *event) -> (k, F), by torchmetrics.

    Only values under one and the same network compare.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(real), len(generated)) < 2:
        raise ValueError(
            f"a covariance needs at least 2 images, got {len(real)} real and {len(generated)} generated"
        )
    network = nn.Sequential(features)
    network.num_features = features(real[:1]).shape[1]  # the attribute that torchmetrics asks for
    metric = FrechetInceptionDistance(feature=network)
    for images, is_real in ((real, True), (generated, False)):
        for part in torch.split(images, batch_size):
            metric.update(part, real=is_real)
    return float(metric.compute())


@torch.no_grad()
def classifier_inception_score(
    images: Float[Tensor, "n ..."], classifier: nn.Module, *, batch_size: int = 500
) -> float:
    """Inception score exp E KL(p(y|x) || p(y)) under any classifier (n, *event) -> (n, K) logits, over one split."""
    from torchmetrics.image.inception import InceptionScore

    metric = InceptionScore(feature=classifier, splits=1)
    for part in torch.split(images, batch_size):
        metric.update(part)
    return float(metric.compute()[0])


def inception_score(probabilities: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """The same from a table p(y|x): K when rows are one-hot and balanced, 1 when all rows are equal."""
    return discrete_kl(probabilities, probabilities.mean(0).expand_as(probabilities)).mean().exp()


def compression_ratio(event_shape: Sequence[int], latent_dim: int) -> float:
    """Numbers in over numbers in the code: 1024 pixels to 2 latents is 512."""
    return math.prod(event_shape) / check_count(latent_dim, "latent_dim")


def _root(eigenvalues: Tensor) -> Tensor:
    """Square root; what is rounding noise beside the largest counts as 0, for its root would be 1e-8 of it."""
    noise = eigenvalues.abs().max() * len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps
    return torch.where(eigenvalues > noise, eigenvalues, 0.0).sqrt()
