"""False discovery rate, F1 and F of classes of pixels, as VPO and AVSS are scored by the code of CAVP.

Chen et al., CVPR 2024 (arXiv:2304.02970). Pixels of the whole set are counted in one table of true by predicted class;
the scores are means over classes, the background among them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

from ecmvae.metrics.functional import BETA_SQUARED, marked


class DetectionScores(NamedTuple):
    """Means over classes, fractions in [0, 1]; a class whose fraction is 0 / 0 is left out.

    Attributes:
        fdr: False discovery rate, wrongly predicted pixels over predicted ones; lower is better.
        f1: F-measure.
        f03: F-measure with beta^2 = 0.3.
        miou: IoU; a class that neither truth nor prediction holds counts as 0, as in CAVP's code.
    """

    fdr: float
    f1: float
    f03: float
    miou: float


def confusion(
    predicted: Int[Tensor, " n"], truth: Int[Tensor, " n"], num_classes: int
) -> Float[Tensor, "c c"]:
    """Number of pixels by true (rows) and predicted class (columns), in float64."""
    counts = torch.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).double()


def detection_scores(table: Float[Tensor, "c c"]) -> DetectionScores:
    """The scores of a table that `confusion` made.

    Example:
        >>> round(detection_scores(torch.tensor([[8.0, 1.0], [0.0, 1.0]])).fdr, 3)
        0.25
    """
    right = table.diag()
    wrong, missed = table.sum(dim=0) - right, table.sum(dim=1) - right

    def fscore(weight: float) -> float:
        return float(
            ((1 + weight) * right / ((1 + weight) * right + weight * missed + wrong)).nanmean()
        )

    iou = right / (right + wrong + missed)
    return DetectionScores(
        fdr=float((wrong / (wrong + right)).nanmean()),
        f1=fscore(1.0),
        f03=fscore(BETA_SQUARED),
        miou=float(iou.nan_to_num(0).mean()),
    )


class Detection(Metric):
    """`DetectionScores` of classes.

    Args:
        num_classes: C, background included.
    """

    name, label = "fdr", "classes of pixels"
    full_state_update = False
    is_differentiable = False
    table: Tensor

    def __init__(self, num_classes: int = 22, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_state(
            "table",
            torch.zeros(num_classes, num_classes, dtype=torch.float64),
            dist_reduce_fx="sum",
        )

    def update(
        self,
        classes: Int[Tensor, "b t h w"],
        labels: Int[Tensor, "b t h w"],
        valid: Bool[Tensor, "b t"] | None = None,
        ignored: Bool[Tensor, "b t h w"] | None = None,
    ) -> None:
        """Add clips: (B, T, H, W) predicted and true classes; frames that are not valid and ignored pixels are not."""
        counted = torch.ones_like(labels, dtype=torch.bool) if ignored is None else ~ignored
        if valid is not None:
            counted = counted & valid[:, :, None, None]
        self.table += confusion(classes[counted], labels[counted], self.num_classes)

    def compute(self) -> DetectionScores:
        """Scores of all pixels seen."""
        return detection_scores(self.table)


class MaskDetection(Detection):
    """The same of masks, at a probability above 0.5: two classes, background and what sounds."""

    name, label = "fdr_masks", "pixels"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(num_classes=2, **kwargs)

    def update(  # type: ignore[override]  # masks instead of classes
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        valid: Bool[Tensor, "b t"] | None = None,
        ignored: Bool[Tensor, "b t h w"] | None = None,
    ) -> None:
        """Add clips; masks are exactly 0 or 1."""
        super().update(marked(logits)[:, :, 0].long(), (masks > 0)[:, :, 0].long(), valid, ignored)
