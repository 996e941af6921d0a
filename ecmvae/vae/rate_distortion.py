"""Rate and distortion: how many nats a model's codes cost, and how many it loses with them.

Alemi et al., "Fixing a broken ELBO", 2018 (arXiv:1711.00464): rate R = E KL(q(z|x) || p(z)), distortion
D = -E log p(x|z), and -ELBO = R + D. Models trained with several weights beta of the KL lie on a curve of slope
dD/dR = -beta: a large beta compresses, a small one copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae.gaussian import check_count
from ecmvae.vae.vae import VAE


@dataclass(frozen=True, kw_only=True)
class RatePoint:
    """One model on the plane of rate and distortion, in nats per sample.

    Attributes:
        beta: Weight of the KL that the model was trained with.
        rate: E KL(q(z|x) || p(z)).
        distortion: -E log p(x|z).
    """

    beta: float
    rate: float
    distortion: float

    @property
    def negative_elbo(self) -> float:
        """Rate + distortion."""
        return self.rate + self.distortion


@torch.no_grad()
def rate_point(
    model: VAE, x: Float[Tensor, "n ..."], *, num_samples: int = 10, batch_size: int = 500
) -> RatePoint:
    """Rate and distortion of a model in eval mode over x, each the mean of K = `num_samples` draws a sample.

    Raises:
        ValueError: Without samples, or for a count below 1.
    """
    check_count(len(x), "the number of samples")
    check_count(num_samples, "num_samples")
    rate = distortion = 0.0
    for part in torch.split(x, check_count(batch_size, "batch_size")):
        for _ in range(num_samples):
            output = model(part)
            rate += output.kl.double().sum().item()
            distortion -= output.log_likelihood.double().sum().item()
    draws = len(x) * num_samples
    return RatePoint(beta=float(model.beta), rate=rate / draws, distortion=distortion / draws)


def rate_distortion_curve(
    models: Mapping[float, VAE], x: Float[Tensor, "n ..."], *, num_samples: int = 10
) -> list[RatePoint]:
    """The points of several models on the same data, by rising rate.

    Args:
        models: beta of the training -> model in eval mode.
        x: Held-out data.
        num_samples: K.

    Raises:
        ValueError: As `rate_point`, or without a model.
    """
    check_count(len(models), "the number of models")
    points = []
    for beta, model in models.items():
        found = rate_point(model, x, num_samples=num_samples)
        points.append(RatePoint(beta=beta, rate=found.rate, distortion=found.distortion))
    return sorted(points, key=lambda each: each.rate)


def undominated(points: list[RatePoint]) -> list[RatePoint]:
    """Those that no other one beats or equals in both rate and distortion: the best trade-offs, by rising rate."""
    kept: list[RatePoint] = []
    for point in sorted(points, key=lambda each: (each.rate, each.distortion)):
        if not kept or point.distortion < kept[-1].distortion:
            kept.append(point)
    return kept
