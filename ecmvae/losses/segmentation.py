"""Losses on masks: the structure loss of F3Net, and the audio-visual matching term of AVSBench. Plain functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ecmvae.errors import UserError

UNLABELLED = -100
"""Label of an unlabelled pixel, as in torch. It counts in no cross-entropy."""

_WINDOW = 31
_LABEL_SMOOTHING = 0.001
_EPSILON = 1e-6


def boundary_weight(masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Weight of each pixel, 1 + 5 |mean of the mask in a 31x31 window - mask|: high near borders, 1 far from them.

    Pixels outside the image count as 0, as in F3Net (Wei et al., AAAI 2020, arXiv 1911.11445).
    """
    # Sums over rows, then columns, by a product with a band of ones: on a CPU a fifth of the time of pooling.
    rows, columns = (_band(size, masks) for size in masks.shape[-2:])
    mean = rows @ masks @ columns / _WINDOW**2
    return 1 + 5 * (mean - masks).abs()


def _band(size: int, like: Tensor) -> Float[Tensor, "n n"]:
    place = torch.arange(size, device=like.device)
    return ((place[:, None] - place).abs() <= _WINDOW // 2).to(like.dtype)


def smooth_labels(masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Labels 0 and 1 drawn 0.0005 towards each other."""
    return (1 - _LABEL_SMOOTHING) * masks + _LABEL_SMOOTHING / 2


def weighted_soft_iou(
    logits: Float[Tensor, "n 1 h w"],
    masks: Float[Tensor, "n 1 h w"],
    weight: Float[Tensor, "n 1 h w"],
) -> Float[Tensor, " n"]:
    """One minus the soft intersection over union, each pixel counted by weight, 1 added above and below."""
    probability = logits.sigmoid()
    intersection = (probability * masks * weight).sum((1, 2, 3))
    total = ((probability + masks) * weight).sum((1, 2, 3))
    return 1 - (intersection + 1) / (total - intersection + 1)


def structure_loss(
    logits: Float[Tensor, "n 1 h w"], masks: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, " n"]:
    """Weighted BCE plus weighted soft IoU of each frame, >= 0 (Fan et al., PraNet, MICCAI 2020, arXiv 2006.11392)."""
    weight = boundary_weight(masks)
    per_pixel = F.binary_cross_entropy_with_logits(logits, smooth_labels(masks), reduction="none")
    bce = (weight * per_pixel).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    return bce + weighted_soft_iou(logits, masks, weight)


def binary_cross_entropy(
    logits: Float[Tensor, "n 1 h w"], masks: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, " n"]:
    """Plain binary cross-entropy of each frame, the mean over its pixels: the mask loss of AVSBench's baseline."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3))


def class_loss(
    logits: Float[Tensor, "n k h w"], labels: Int[Tensor, "n h w"]
) -> Float[Tensor, " n"]:
    """Cross-entropy over the classes, mean over the labelled pixels of each frame, all classes alike: AVSS' mask loss.

    Zhou et al., "Audio-visual segmentation with semantics", IJCV 2024 (arXiv:2301.13190). Label 0 is the background,
    `UNLABELLED` counts nowhere; a frame without any label costs nothing.
    """
    per_pixel = F.cross_entropy(logits, labels, reduction="none", ignore_index=UNLABELLED)
    return per_pixel.sum((1, 2)) / (labels != UNLABELLED).sum((1, 2)).clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class MatchingForm:
    """How the audio-visual matching term compares what the mask cuts out with the sound.

    Attributes:
        distance: "kl": KL(softmax(audio) || softmax(visual)); "euclidean"; "cosine": -log(max(cosine, 0) + 1e-6).
        pooling: "avg" or "max": how the mask is brought to a map's size.
        threshold: Cut the pooled mask at 0.5 and average its pixels; else average all pixels, weighed by it.
        normalise: L2-normalise both features first.
    """

    distance: Literal["kl", "euclidean", "cosine"] = "kl"
    pooling: Literal["avg", "max"] = "avg"
    threshold: bool = False
    normalise: bool = True

    def pool(
        self, masks: Float[Tensor, "n 1 h w"], stage: Float[Tensor, "n c h2 w2"]
    ) -> Float[Tensor, "n 1 h2 w2"]:
        """Masks at the size of a map."""
        pool = F.adaptive_avg_pool2d if self.pooling == "avg" else F.adaptive_max_pool2d
        return pool(masks, (stage.shape[2], stage.shape[3]))

    def compare(
        self,
        stage: Float[Tensor, "n c h w"],
        audio: Float[Tensor, "n a"],
        probability: Float[Tensor, "n 1 h w"],
    ) -> Float[Tensor, " n"]:
        """Distance of the map's masked mean from the sound, for each frame.

        Raises:
            UserError: If the map's width differs from the sound's.
        """
        if stage.shape[1] != audio.shape[1]:
            raise UserError(
                f"audio-visual matching compares {stage.shape[1]} visual channels with {audio.shape[1]} audio ones: "
                f"set model.channels to {audio.shape[1]}, or loss.audio_visual_matching to 0"
            )
        if self.threshold:
            inside = (probability > 0.5).to(stage.dtype)
            seen = (stage * inside).sum((2, 3)) / (inside.sum((2, 3)) + _EPSILON)  # (N, C)
        else:
            seen = (stage * probability).mean((2, 3))
        if self.normalise:
            seen, audio = F.normalize(seen, dim=1), F.normalize(audio, dim=1)
        if self.distance == "euclidean":
            return F.pairwise_distance(audio, seen)
        if self.distance == "cosine":
            return -((audio * seen).sum(1).relu() + _EPSILON).log()
        audio = F.log_softmax(audio, dim=1)
        return (audio.exp() * (audio - F.log_softmax(seen, dim=1))).sum(1)


def audio_visual_matching_loss(
    fused: Sequence[Tensor],
    audio: Sequence[Tensor],
    logits: Float[Tensor, "n 1 h w"],
    form: MatchingForm | None = None,
) -> Float[Tensor, " n"]:
    """Distance between what the mask cuts out and the sound, for each frame, averaged over the stages.

    Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042, eq. 6.

    Args:
        fused: Maps (N, C, h, w) of the stages, C = A.
        audio: The sound (N, A) of each stage.
        logits: (N, 1, H, W); their probabilities are pooled to each map's size.
        form: How the two are compared; None = KL of L2-normalised features.

    Raises:
        UserError: If the maps' width differs from the audio's.
    """
    form, masks = form or MatchingForm(), logits.sigmoid()
    stages = zip(fused, audio, strict=True)
    return torch.stack(
        [form.compare(stage, sound, form.pool(masks, stage)) for stage, sound in stages]
    ).mean(0)
