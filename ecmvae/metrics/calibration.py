"""Is a probability of 0.8 right four times in five, and does the model know where it is wrong?"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from ecmvae.metrics.functional import MaskLogits, MaskTarget, avsbench_iou


class CalibrationError(Metric):
    """Expected calibration error of pixels (Guo et al., arXiv:1706.04599), from sums in equal bins of probability.

    The average gap, over all pixels, between the mean probability of a bin and the share of its pixels that sound. It
    keeps 3 numbers a bin, so it takes any number of pixels, in any batches and on any number of processes.

    Args:
        num_bins: Bins of [0, 1].
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False
    pixels: Tensor
    probability: Tensor
    sounding: Tensor

    def __init__(self, num_bins: int = 15, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_bins = num_bins
        for name in ("pixels", "probability", "sounding"):
            self.add_state(name, default=torch.zeros(num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: MaskLogits, target: MaskTarget) -> None:
        """Add frames; the target is exactly 0 or 1."""
        probability = torch.sigmoid(logits.double()).flatten()
        inside = (probability * self.num_bins).long().clamp(max=self.num_bins - 1)
        weights = (torch.ones_like(probability), probability, target.flatten().double())
        for state, weight in zip((self.pixels, self.probability, self.sounding), weights, strict=True):
            state += torch.bincount(inside, weights=weight, minlength=self.num_bins).to(state)

    def compute(self) -> Float[Tensor, ""]:
        """The error in [0, 1]; NaN before any frame."""
        error: Tensor = (self.probability - self.sounding).abs().sum() / self.pixels.sum()
        return error


def predictive_entropy(logits: Float[Tensor, "k *n"]) -> Float[Tensor, "*n"]:
    """Entropy in bits of the mean probability over K latent samples: 0 where the model is sure, 1 at one half."""
    mean = torch.sigmoid(logits.float()).mean(dim=0)
    nats: Tensor = torch.special.entr(mean) + torch.special.entr(1 - mean)
    return nats / math.log(2)


def risk_coverage(
    uncertainty: Float[Tensor, " n"], risk: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Mean risk of the most certain answers, for every share of answers kept (Geifman & El-Yaniv, arXiv:1705.08500).

    Args:
        uncertainty: (n,) of each answer, in any unit: only its order counts.
        risk: (n,) of each answer, such as 1 - IoU.

    Returns:
        Coverage k / n for k = 1 ... n, and the mean risk of the k most certain answers. The mean of the latter is
        the area under the curve.
    """
    order = uncertainty.argsort(stable=True)
    count = torch.arange(1, len(risk) + 1, device=risk.device)
    return count / len(risk), risk[order].cumsum(dim=0) / count


class UncertaintyScores(NamedTuple):
    """How far the model's probabilities can be trusted.

    Attributes:
        calibration_error: Expected calibration error of pixels in [0, 1].
        entropy: Mean entropy of a pixel's mean probability over the latent draws, in bits.
        risk_coverage_area: Mean of 1 - IoU over the most certain frames, averaged over all shares of frames kept; as
            small as possible where the least certain frames are the worst ones.
        miou_spread: Standard deviation of mIoU over latent draws; None for a single one.
    """

    calibration_error: float
    entropy: float
    risk_coverage_area: float
    miou_spread: float | None


class Uncertainty:
    """`UncertaintyScores` of masks under K latent draws, on one process."""

    name, label, graded = "uncertainty", "", True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._calibration = CalibrationError()
        self._entropy: list[Tensor] = []
        self._risk: list[Tensor] = []
        self._iou_of_draws: list[Tensor] = []

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        draws: Float[Tensor, "k b t 1 h w"],
        masks: Float[Tensor, "b t 1 h w"],
    ) -> None:
        """Add clips: logits of the mean probability, logits of each of K draws, and masks of exactly 0 or 1."""
        mean, truth = logits.flatten(0, 1), masks.flatten(0, 1)
        frames = draws.flatten(1, 2)  # (K, N, 1, H, W)
        self._calibration.update(mean, truth)
        self._entropy.append(predictive_entropy(frames).flatten(1).mean(dim=1))
        self._risk.append(1 - avsbench_iou(mean, truth))
        if len(frames) > 1:
            self._iou_of_draws.append(torch.stack([avsbench_iou(draw, truth).double() for draw in frames]))

    def compute(self) -> UncertaintyScores:
        """Scores of all frames seen."""
        entropy, risk = torch.cat(self._entropy), torch.cat(self._risk)
        spread = float(torch.cat(self._iou_of_draws, dim=1).mean(dim=1).std()) if self._iou_of_draws else None
        return UncertaintyScores(
            calibration_error=float(self._calibration.compute()),
            entropy=float(entropy.mean()),
            risk_coverage_area=float(risk_coverage(entropy, risk)[1].mean()),
            miou_spread=spread,
        )
