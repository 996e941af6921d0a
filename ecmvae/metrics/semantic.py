"""AVSS' scores: IoU and F of every class in every frame, averaged over the frames in which the class occurs.

Zhou et al., "Audio-visual segmentation with semantics", IJCV 2024 (arXiv:2301.13190). A class occurs in a frame when
truth or prediction holds a pixel of it. The released evaluation counts the padded frames of five-second clips as frames
of background; leave them out with `valid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from ecmvae.errors import UserError
from ecmvae.metrics.functional import BETA_SQUARED


class SemanticScores(NamedTuple):
    """Mean IoU and F-measure (beta^2 = 0.3) over the classes that occur, and both without class 0; in [0, 1]."""

    miou: float
    fscore: float
    miou_without_background: float
    fscore_without_background: float


@dataclass(frozen=True)
class ClassSums:
    """What frames came to, class by class; sums of disjoint frames may be added.

    Attributes:
        iou: (C,) sum of IoU over the frames in which the class occurs.
        fscore: (C,) sum of F over the same frames.
        frames: (C,) number of these frames.
    """

    iou: Float[Tensor, " c"]
    fscore: Float[Tensor, " c"]
    frames: Float[Tensor, " c"]

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(
            self.iou + other.iou, self.fscore + other.fscore, self.frames + other.frames
        )

    def scores(self) -> SemanticScores:
        """Means over the classes seen; NaN without the background where no other class occurred."""
        seen = self.frames > 0
        # (C,), NaN for classes never seen
        iou, fscore = (self.iou / self.frames, self.fscore / self.frames)
        named = seen.clone()
        named[0] = False
        return SemanticScores(
            iou[seen].mean().item(),
            fscore[seen].mean().item(),
            iou[named].mean().item(),
            fscore[named].mean().item(),
        )


def class_sums(
    predicted: Int[Tensor, "n h w"], target: Int[Tensor, "n h w"], num_classes: int
) -> ClassSums:
    """Sums over frames, for each class: IoU, F and the number of frames in which the class occurs, in float64.

    Args:
        predicted: (n, H, W) class numbers.
        target: (n, H, W) class numbers.
        num_classes: C; every number must be below it.

    Raises:
        ValueError: When a number is not a class.
    """
    for name, numbers in (("predicted", predicted), ("target", target)):
        if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < num_classes:
            raise ValueError(f"{name} classes must lie in 0 ... {num_classes - 1}")
    n = len(target)
    frame = torch.arange(n, device=target.device)[:, None] * num_classes
    hits = torch.where(predicted == target, target, num_classes * n).flatten(1)

    def count(slots: Tensor) -> Tensor:
        counts = torch.bincount(slots.flatten(), minlength=n * num_classes)
        return counts[: n * num_classes].reshape(n, num_classes).float()

    truth, marked = count(frame + target.flatten(1)), count(frame + predicted.flatten(1))  # (n, C)
    both = count(torch.where(hits < num_classes, hits + frame, n * num_classes))
    union = truth + marked - both
    occurs = union > 0
    # 1.3 P R / (0.3 P + R) with P = both / marked and R = both / truth, cleared of fractions.
    fscore = (1 + BETA_SQUARED) * both / (BETA_SQUARED * truth + marked).clamp(min=1e-9)
    iou = both / union.clamp(min=1)
    return ClassSums(*(each.double().sum(dim=0) for each in (iou, fscore, occurs)))


class SemanticProtocol(Metric):
    """AVSS' protocol over a whole data set: the same for any batching and any number of processes.

    Args:
        num_classes: C, background included.
    """

    name, label = "frames", "frames"
    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    iou: Tensor
    fscore: Tensor
    frames: Tensor

    def __init__(self, num_classes: int = 71, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        for name in ("iou", "fscore", "frames"):
            self.add_state(
                name, default=torch.zeros(num_classes, dtype=torch.float64), dist_reduce_fx="sum"
            )

    def update(
        self,
        classes: Float[Tensor, "b t c h w"] | Int[Tensor, "b t h w"],
        labels: Int[Tensor, "b t h w"],
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips.

        Args:
            classes: (B, T, H, W) predicted classes, or logits (B, T, C, H, W), of which the largest one is the class.
            labels: (B, T, H, W) true classes, 0 = background.
            valid: (B, T), frames to score; None = all, padded ones too, as the released evaluation does.

        Raises:
            UserError: When a logit is NaN.
        """
        if classes.is_floating_point():
            if classes.isnan().any():
                raise UserError(
                    "the predicted logits hold NaN: the model or its checkpoint is broken"
                )
            classes = classes.argmax(dim=2)
        keep = torch.ones_like(labels[:, :, 0, 0], dtype=torch.bool) if valid is None else valid
        sums = class_sums(classes[keep], labels[keep], self.num_classes)
        self.iou += sums.iou
        self.fscore += sums.fscore
        self.frames += sums.frames

    def compute(self) -> SemanticScores:
        """Scores of all frames seen; NaN where no class but the background occurred."""
        return ClassSums(self.iou, self.fscore, self.frames).scores()


class ReleasedSemanticProtocol(SemanticProtocol):
    """AVSS' protocol as its released script counts: the padded frames of short clips are frames of background."""

    name, label = "released", "released"

    def update(  # type: ignore[override]  # without `valid`
        self,
        classes: Float[Tensor, "b t c h w"] | Int[Tensor, "b t h w"],
        labels: Int[Tensor, "b t h w"],
    ) -> None:
        """Add clips, as `SemanticProtocol.update` does."""
        super().update(classes, labels)
