"""AVSBench's two scores as plain functions: IoU with a rule for empty frames, and the F-measure over 255 thresholds.

From Zhou et al., "Audio-visual segmentation", ECCV 2022 (arXiv:2207.05042), whose released evaluation fixes what the
paper leaves open: a frame without ground truth scores the share of background that was kept, and the F-measure
(beta^2 = 0.3) is the best threshold of a curve averaged over the non-empty frames *of a batch*. The curve is made
here from one histogram of each frame instead of 255 passes over it, at equal value.

All functions take logits, not probabilities, and compute in float32 whatever they are given.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ecmvae.errors import UserError

NUM_THRESHOLDS = 255
"""Thresholds of the F-measure's curve."""

BETA_SQUARED = 0.3
"""Weight of recall against precision in the F-measure."""

MaskLogits = Float[Tensor, "n h w"] | Float[Tensor, "n 1 h w"]
"""Logits of n masks."""

MaskTarget = Shaped[Tensor, "n h w"] | Shaped[Tensor, "n 1 h w"]
"""Ground truth of n masks, exactly 0 or 1, of any dtype."""


def avsbench_iou(logits: MaskLogits, target: MaskTarget) -> Float[Tensor, " n"]:
    """IoU of each frame at a probability above 0.5, by AVSBench's rule for empty frames.

    A frame with ground truth scores intersection over union. A frame without any scores the share of its pixels that
    were predicted as background: 1 for an empty prediction, 0 for a full one. Their mean is AVSBench's mIoU (M_J).

    Raises:
        ValueError: When the shapes differ or the target holds anything but 0 and 1.
        UserError: When a logit is NaN.

    Example:
        >>> logits = torch.tensor([[[3.0, 3.0], [-3.0, -3.0]]])
        >>> avsbench_iou(logits, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])).item()
        0.5
    """
    probability, truth = _flatten(logits, target)
    predicted = probability > 0.5
    intersection = (predicted & truth).sum(dim=1)
    union = (predicted | truth).sum(dim=1)
    pixels = truth.shape[1]
    empty = ~truth.any(dim=1)
    intersection = torch.where(empty, pixels - union, intersection)
    union = torch.where(empty, pixels, union)
    return intersection.float() / (union.float() + 1e-7)


def marked(logits: Float[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
    """Which pixels have a probability above 0.5."""
    return torch.sigmoid(logits.float()) > 0.5


def avsbench_fscore_curve(logits: MaskLogits, target: MaskTarget) -> Float[Tensor, "n 255"]:
    """F-measure of each frame at each of the 255 thresholds; NaN rows where a frame has no ground truth.

    Column j belongs to threshold j / 254. Raises what `avsbench_iou` raises.
    """
    curve = fscore_from_counts(*threshold_counts(logits, target))
    empty = ~(target.flatten(1) != 0).any(dim=1)
    return curve.masked_fill(empty[:, None], torch.nan)


def avsbench_fscore(logits: MaskLogits, target: MaskTarget) -> Float[Tensor, ""]:
    """F-measure of one batch by the released protocol: the best threshold of the mean curve.

    The value depends on what is in the batch: the curves of the non-empty frames are averaged first and the maximum
    is taken after. A batch without any ground truth scores 0. Over a data set the released code averages these
    batch values (`ecmvae.metrics.AVSBenchProtocol`).
    """
    curve = avsbench_fscore_curve(logits, target)
    scored = curve[~curve.isnan().any(dim=1)]
    return scored.mean(dim=0).max() if len(scored) else curve.new_zeros(())


def threshold_counts(
    logits: MaskLogits, target: MaskTarget
) -> tuple[Float[Tensor, "n 255"], Float[Tensor, "n 255"], Float[Tensor, " n"]]:
    """Pixels found at each threshold, from one histogram a frame.

    A pixel counts as predicted at threshold t when its probability is at least t.

    Returns:
        True positives (n, 255), predicted pixels (n, 255) and ground-truth pixels (n,), whole numbers in float32.
    """
    probability, truth = _flatten(logits, target)
    n = probability.shape[0]
    # A pixel that passes k thresholds passes the first k, so sums over the histogram's tail give every count.
    passed = _passed(probability)  # (n, H*W) in 1..255
    bins = NUM_THRESHOLDS + 1
    frame = torch.arange(n, dtype=torch.int32, device=passed.device)[:, None]
    slot = passed.add_(truth, alpha=bins).add_(frame, alpha=2 * bins)
    histogram = torch.bincount(slot.flatten(), minlength=n * 2 * bins).reshape(n, 2, bins)
    tail = histogram.flip(2).cumsum(2).flip(2)[:, :, 1:]  # (n, 2, 255): background, foreground
    return tail[:, 1].float(), tail.sum(dim=1).float(), histogram[:, 1].sum(dim=1).float()


def fscore_from_counts(
    true_positives: Float[Tensor, "*n k"],
    predicted: Float[Tensor, "*n k"],
    positives: Float[Tensor, "*n"],
) -> Float[Tensor, "*n k"]:
    """F-measure, ``1.3 P R / (0.3 P + R)``, from counts of pixels; 0 where precision and recall both are 0."""
    precision = true_positives / (predicted + 1e-20)
    recall = true_positives / (positives[..., None] + 1e-20)
    return (
        (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    ).nan_to_num(0.0)


def _passed(probability: Tensor) -> Tensor:
    """How many thresholds each probability reaches: a guess from their even spacing, made exact by two comparisons.

    The same as ``torch.bucketize(probability, thresholds, right=True)`` in a fifth of the time.
    """
    thresholds = _thresholds(probability.device)
    # off by one at most
    guess = (probability * (NUM_THRESHOLDS - 1)).int().clamp_(0, NUM_THRESHOLDS - 2).flatten()
    flat = probability.flatten()
    passed = guess + (flat >= thresholds.index_select(0, guess))
    passed += flat >= thresholds.index_select(0, guess + 1)
    return passed.reshape(probability.shape)


@lru_cache(maxsize=4)
def _thresholds(device: torch.device) -> Tensor:
    """The 255 thresholds in float32; the last one rounds to exactly 1, so only a saturated pixel passes it."""
    return torch.linspace(0, 1 - 1e-10, NUM_THRESHOLDS, dtype=torch.float32).to(device)


def _flatten(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (n, H*W) in float32 and ground truth (n, H*W) as bool, checked."""
    logits, target = (each.squeeze(1) if each.ndim == 4 else each for each in (logits, target))
    if logits.shape != target.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} must have the same shape"
        )
    truth = target != 0
    if not torch.equal(truth.to(target.dtype), target):
        raise ValueError(
            "the target must hold only 0 and 1: read masks with ecmvae.data, or compare with > 0"
        )
    probability = torch.sigmoid(logits.float())
    if probability.isnan().any():
        raise UserError(
            "the predicted logits hold NaN: the model or its checkpoint is broken, nothing can be scored"
        )
    return probability.flatten(1), truth.flatten(1)
