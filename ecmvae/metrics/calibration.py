"""Is a probability of 0.8 right four times in five, and does the model know where it is wrong?"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc

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
            self.add_state(
                name, default=torch.zeros(num_bins, dtype=torch.float64), dist_reduce_fx="sum"
            )

    def update(self, logits: MaskLogits, target: MaskTarget) -> None:
        """Add frames; the target is exactly 0 or 1."""
        probability = torch.sigmoid(logits.double()).flatten()
        inside = (probability * self.num_bins).long().clamp(max=self.num_bins - 1)
        weights = (torch.ones_like(probability), probability, target.flatten().double())
        for state, weight in zip(
            (self.pixels, self.probability, self.sounding), weights, strict=True
        ):
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


def marked_entropy(
    logits: Float[Tensor, "k n h w"], objects: Int[Tensor, "n h w"], sounding: Bool[Tensor, "n o"]
) -> tuple[Float[Tensor, " m"], Bool[Tensor, " m"]]:
    """How uncertain a model is in the region that it marks, and whether that region is the wrong object.

    The marked region of a frame is where the mean probability over K latent samples is above 0.5; the object that has
    most of its pixels is the marked one, and the first of several. Only frames are returned in which an object is
    marked, one visible object sounds and another visible one does not.

    Args:
        logits: (K, n, H, W).
        objects: (n, H, W), 0 = background, k = visible pixels of object k.
        sounding: (n, O), column k-1 says whether object k sounds.

    Returns:
        For each of the m frames: mean entropy of the marked region in bits, and whether the marked object is silent.
    """
    marked = torch.sigmoid(logits.float()).mean(dim=0) > 0.5
    entropy = (predictive_entropy(logits) * marked).sum(dim=(1, 2)) / marked.sum(dim=(1, 2)).clamp(
        min=1
    )
    numbers = torch.arange(1, sounding.shape[1] + 1, device=objects.device)
    shown = objects[:, None] == numbers[:, None, None]  # (n, O, H, W)
    visible, covered = shown.flatten(2).any(dim=2), (shown & marked[:, None]).flatten(2).sum(dim=2)
    scored = (
        ((visible & sounding).sum(dim=1) == 1)
        & (visible & ~sounding).any(dim=1)
        & (covered.amax(dim=1) > 0)
    )
    wrong = ~sounding.gather(1, covered.argmax(dim=1, keepdim=True)).squeeze(1)
    return entropy[scored], wrong[scored]


class UncertaintyScores(NamedTuple):
    """How far the model's probabilities can be trusted.

    Attributes:
        calibration_error: Expected calibration error of pixels in [0, 1].
        entropy: Mean entropy of a pixel's mean probability over the latent draws, in bits.
        risk_coverage_area: Mean of 1 - IoU over the most certain frames, averaged over all shares of frames kept; as
            small as possible where the least certain frames are the worst ones.
        miou_spread: Standard deviation of mIoU over latent draws; None for a single one.
        calibration_error_in_objects: The calibration error of the pixels of objects, sounding or not: the background is
            most of a picture, and easy. None where objects are not known.
        wrong_object_auroc: Probability that a frame whose wrong object is marked has more entropy in the marked region
            than one whose right object is (`marked_entropy`); 0.5 is chance. None where there are not both.
    """

    calibration_error: float
    entropy: float
    risk_coverage_area: float
    miou_spread: float | None
    calibration_error_in_objects: float | None = None
    wrong_object_auroc: float | None = None


class Uncertainty:
    """`UncertaintyScores` of masks under K latent draws, on one process."""

    name, label, graded = "uncertainty", "", True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._calibration, self._in_objects = CalibrationError(), CalibrationError()
        self._marked: list[tuple[Tensor, Tensor]] = []
        self._entropy: list[Tensor] = []
        self._risk: list[Tensor] = []
        self._iou_of_draws: list[Tensor] = []

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        draws: Float[Tensor, "k b t 1 h w"],
        masks: Float[Tensor, "b t 1 h w"],
        objects: Int[Tensor, "b t h w"] | None = None,
        sounding: Bool[Tensor, "b t o"] | None = None,
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips.

        Args:
            logits: (B, T, 1, H, W) of the mean probability.
            draws: (K, B, T, 1, H, W) of each latent draw.
            masks: (B, T, 1, H, W), exactly 0 or 1.
            objects: (B, T, H, W) visible pixels of each object, where they are known.
            sounding: (B, T, O) which object sounds, likewise.
            valid: (B, T) which frames count; None = all.
        """
        kept = torch.ones(masks.shape[:2], dtype=torch.bool) if valid is None else valid
        if not kept.any():
            return
        mean, truth = logits[kept], masks[kept]
        frames = draws[:, kept]  # (K, N, 1, H, W)
        self._calibration.update(mean, truth)
        self._entropy.append(predictive_entropy(frames).flatten(1).mean(dim=1))
        self._risk.append(1 - avsbench_iou(mean, truth))
        if objects is not None and sounding is not None:
            inside = objects[kept] > 0
            self._in_objects.update(mean[:, 0][inside][None, None], truth[:, 0][inside][None, None])
            self._marked.append(marked_entropy(frames[:, :, 0], objects[kept], sounding[kept]))
        if len(frames) > 1:
            self._iou_of_draws.append(
                torch.stack([avsbench_iou(draw, truth).double() for draw in frames])
            )

    def compute(self) -> UncertaintyScores:
        """Scores of all frames seen."""
        entropy, risk = torch.cat(self._entropy), torch.cat(self._risk)
        spread = (
            float(torch.cat(self._iou_of_draws, dim=1).mean(dim=1).std())
            if self._iou_of_draws
            else None
        )
        return UncertaintyScores(
            calibration_error=float(self._calibration.compute()),
            entropy=float(entropy.mean()),
            risk_coverage_area=float(risk_coverage(entropy, risk)[1].mean()),
            miou_spread=spread,
            calibration_error_in_objects=float(self._in_objects.compute())
            if self._marked
            else None,
            wrong_object_auroc=self._auroc(),
        )

    def _auroc(self) -> float | None:
        """Area under the ROC curve of the marked region's entropy for "the wrong object"; None without both kinds."""
        if not self._marked:
            return None
        entropy, wrong = (torch.cat(each) for each in zip(*self._marked, strict=True))
        return (
            float(binary_auroc(entropy, wrong.int())) if wrong.any() and not wrong.all() else None
        )
