"""How good and how varied generated pictures are, in the feature space of a named network.

Frechet distance (FID): Heusel et al., 2017 (arXiv:1706.08500). Precision and recall: Kynkaanniemi et al., "Improved
precision and recall metric for assessing generative models", 2019 (arXiv:1904.06991). Density and coverage: Naeem et
al., "Reliable fidelity and diversity metrics for generative models", 2020 (arXiv:2002.09797).

A number says nothing without the network: only values under one network compare. Published FIDs use Inception-v3; the
default here, `ecmvae.visual.features`, is ImageNet's EfficientNet-Lite0, and its numbers do not
compare with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ecmvae.vae.gaussian import check_count
from ecmvae.vae.metrics import frechet_distance

Features = Callable[[Tensor], Tensor]
"""Pictures (n, C, H, W) in [0, 1] -> features (n, F)."""


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """Generated against real pictures; the last four are shares, but density may exceed 1.

    Attributes:
        network: Name of the feature network.
        fid: Frechet distance of the features, 0 for equal Gaussians.
        precision: Generated pictures that lie among the real ones.
        recall: Real pictures that lie among the generated ones.
        density: How many real neighbourhoods hold a generated picture, over k: about 1 for equal distributions.
        coverage: Real pictures with a generated one in their neighbourhood.
    """

    network: str
    fid: float
    precision: float
    recall: float
    density: float
    coverage: float


def quality_report(
    real: Float[Tensor, "n c h w"],
    generated: Float[Tensor, "m c h w"],
    features: Features,
    *,
    name: str | None = None,
    k: int = 5,
    batch_size: int = 100,
) -> QualityReport:
    """Every score of this file, from one pass over the pictures.

    Args:
        real: In [0, 1].
        generated: In [0, 1].
        features: The feature network.
        name: What the report calls it; None is its attribute `name`, or its class.
        k: Neighbours of the four shares.
        batch_size: Pictures a pass.

    Raises:
        ValueError: With too few pictures, or features that are not (n, F).
    """
    ours, theirs = (extract(images, features, batch_size) for images in (real, generated))
    label = name or str(
        getattr(features, "name", getattr(features, "__name__", type(features).__name__))
    )
    shares = precision_recall(ours, theirs, k) + density_coverage(ours, theirs, k)
    precision, recall, density, coverage = shares
    return QualityReport(
        network=label,
        fid=frechet_feature_distance(ours, theirs),
        precision=precision,
        recall=recall,
        density=density,
        coverage=coverage,
    )


@torch.no_grad()
def extract(
    images: Float[Tensor, "n ..."], features: Features, batch_size: int = 100
) -> Float[Tensor, "n f"]:
    """Features (n, F) of pictures, batch by batch, on the CPU.

    Raises:
        ValueError: When the network does not give one row for each picture.
    """
    parts = [
        features(part).cpu() for part in torch.split(images, check_count(batch_size, "batch_size"))
    ]
    if any(part.ndim != 2 for part in parts) or sum(map(len, parts)) != len(images):
        raise ValueError(
            f"the feature network gave {tuple(parts[0].shape)} for a batch: it must give (n, F)"
        )
    return torch.cat(parts)


def frechet_feature_distance(real: Float[Tensor, "n f"], generated: Float[Tensor, "m f"]) -> float:
    """Frechet distance of two sets of features, with unbiased covariances, in float64.

    It is biased upwards for few samples: compare sets of equal sizes, well above F.

    Raises:
        ValueError: With fewer than 2 rows.
    """
    if min(len(real), len(generated)) < 2:
        raise ValueError(
            f"a covariance needs at least 2 pictures, got {len(real)} real and {len(generated)} generated"
        )
    moments = []
    for rows in (real.double(), generated.double()):
        moments += [rows.mean(0), torch.cov(rows.T).reshape(rows.shape[1], rows.shape[1])]
    return max(0.0, float(frechet_distance(*moments)))


def precision_recall(
    real: Float[Tensor, "n f"], generated: Float[Tensor, "m f"], k: int = 3
) -> tuple[float, float]:
    """Shares of rows inside the other set's manifold: the union of balls that reach to each row's k-th neighbour.

    Precision is the share of generated rows in the real manifold, recall that of real rows in the generated one.

    Raises:
        ValueError: When a set does not have more than k rows.
    """
    precision = _inside(generated, real, k).any(1)
    recall = _inside(real, generated, k).any(1)
    return float(precision.double().mean()), float(recall.double().mean())


def density_coverage(
    real: Float[Tensor, "n f"], generated: Float[Tensor, "m f"], k: int = 5
) -> tuple[float, float]:
    """Density and coverage, both from balls around real rows that reach to the k-th real neighbour.

    Density is the number of such balls that hold a generated row, over k, in the mean; coverage the share of balls that
    hold at least one generated row.

    Raises:
        ValueError: As `precision_recall`.
    """
    inside = _inside(generated, real, k)  # (m, n)
    density = inside.double().sum(1).mean() / k
    return float(density), float(inside.any(0).double().mean())


def _inside(points: Tensor, centres: Tensor, k: int) -> Bool[Tensor, "m n"]:
    """Which points lie in which balls of the centres, (m, n)."""
    if not 1 <= k < len(centres):
        raise ValueError(
            f"k must be between 1 and {len(centres) - 1}, one less than the number of pictures, got {k}"
        )
    centres, points = centres.double(), points.double()
    # Differences, not the product of norms: a row's distance to itself is 0 and ties stay ties.
    mode = "donot_use_mm_for_euclid_dist"
    own = torch.cdist(centres, centres, compute_mode=mode)
    radii = own.fill_diagonal_(-1.0).kthvalue(k + 1, 1).values  # the row itself comes first
    return torch.cdist(points, centres, compute_mode=mode) <= radii
