"""Losses on masks: the structure loss of F3Net, and the semantic-aware term of AVSBench. Plain functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

_WINDOW = 31
_LABEL_SMOOTHING = 0.001


def boundary_weight(masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Weight of each pixel, 1 + 5 |mean of the mask in a 31x31 window - mask|: high near borders, 1 far from them.

    Pixels outside the image count as 0, as in F3Net (Wei et al., AAAI 2020, arXiv 1911.11445).
    """
    # A mean over a square is a mean over rows of means over columns; separately they cost 62 additions, not 961.
    rows = F.avg_pool2d(masks, (_WINDOW, 1), stride=1, padding=(_WINDOW // 2, 0))
    mean = F.avg_pool2d(rows, (1, _WINDOW), stride=1, padding=(0, _WINDOW // 2))
    return 1 + 5 * (mean - masks).abs()


def smooth_labels(masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Labels 0 and 1 drawn 0.0005 towards each other."""
    return (1 - _LABEL_SMOOTHING) * masks + _LABEL_SMOOTHING / 2


def weighted_bce(
    logits: Float[Tensor, "n 1 h w"], masks: Float[Tensor, "n 1 h w"], weight: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, " n"]:
    """Binary cross-entropy, averaged over each frame by weight: sum(w * bce) / sum(w). Labels are smoothed by 0.001."""
    per_pixel = F.binary_cross_entropy_with_logits(logits, smooth_labels(masks), reduction="none")
    return (weight * per_pixel).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def weighted_soft_iou(
    logits: Float[Tensor, "n 1 h w"], masks: Float[Tensor, "n 1 h w"], weight: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, " n"]:
    """One minus the soft intersection over union, each pixel counted by weight, 1 added above and below."""
    probability = logits.sigmoid()
    intersection = (probability * masks * weight).sum((1, 2, 3))
    total = ((probability + masks) * weight).sum((1, 2, 3))
    return 1 - (intersection + 1) / (total - intersection + 1)


def structure_loss(logits: Float[Tensor, "n 1 h w"], masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, " n"]:
    """Weighted BCE plus weighted soft IoU, for each frame (Fan et al., PraNet, MICCAI 2020, arXiv 2006.11392).

    Args:
        logits: (N, 1, H, W).
        masks: (N, 1, H, W) in {0, 1}.

    Returns:
        (N,), each at least 0.
    """
    weight = boundary_weight(masks)
    return weighted_bce(logits, masks, weight) + weighted_soft_iou(logits, masks, weight)


def class_loss(logits: Float[Tensor, "n k h w"], labels: Int[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Cross-entropy over the classes, mean over the pixels of each frame, all classes alike: AVSS' mask loss.

    Zhou et al., "Audio-visual segmentation with semantics", IJCV 2024 (arXiv:2301.13190).

    Args:
        logits: (N, K, H, W).
        labels: (N, H, W) class numbers below K, 0 = background.
    """
    return F.cross_entropy(logits, labels, reduction="none").mean((1, 2))


def semantic_loss(
    fused: Sequence[Tensor], audio: Float[Tensor, "n a"], logits: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, " n"]:
    """What the mask cuts out should look like what is heard: KL(softmax(audio) || softmax(masked visual mean)).

    Averaged over the stages. Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042, eq. 6.

    Args:
        fused: Maps (N, C, h, w) of the stages, C = A.
        audio: (N, A), L2-normalised.
        logits: (N, 1, H, W); the probabilities are averaged down to each map's size.

    Raises:
        ValueError: When the maps' width differs from the audio's.
    """
    heard = F.log_softmax(audio, dim=1)
    total = torch.zeros_like(audio[:, 0])
    for stage in fused:
        if stage.shape[1] != audio.shape[1]:
            raise ValueError(
                f"the semantic term compares {stage.shape[1]} visual channels with {audio.shape[1]} audio features: "
                "set model.channels to 128, or loss.semantic to 0"
            )
        probability = F.adaptive_avg_pool2d(logits.sigmoid(), (stage.shape[2], stage.shape[3]))
        seen = F.normalize((stage * probability).mean((2, 3)), dim=1)  # (N, C)
        total = total + (heard.exp() * (heard - F.log_softmax(seen, dim=1))).sum(1)
    return total / len(fused)
