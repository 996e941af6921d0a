"""The three protocols that audio-visual segmentation papers score by, as torchmetrics classes with the same `update`.

They are up to ten points apart on the same masks, so a number means something only together with its protocol:

1. `AVSBenchProtocol`: what AVSBench's released script computes (Zhou et al., arXiv:2207.05042), for a stated number
   of clips a batch.
2. `PerClipProtocol`: the same with one clip as the batch, so that batching does not matter: our headline.
3. `DatasetProtocol`: intersections and unions summed over the whole set before dividing (as CAVP, arXiv:2304.02970).

All values are the same on one or several processes and for any batch size of the loader.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ecmvae.metrics.clip_sums import WIDTH, ClipMetric, ClipSums
from ecmvae.metrics.functional import fscore_from_counts


class Scores(NamedTuple):
    """Values of one protocol, fractions in [0, 1]: mean IoU, and the F-measure (beta^2 = 0.3) at its best threshold."""

    miou: float
    fscore: float


class DatasetScores(NamedTuple):
    """Values of the data-set protocol, fractions in [0, 1].

    Attributes:
        miou: IoU of the sounding pixels of the whole set.
        fscore: F-measure, beta^2 = 0.3, at its best threshold.
        two_class_miou: Mean of `miou` and the background's IoU, which some papers print without saying so.
    """

    miou: float
    fscore: float
    two_class_miou: float


class _MaskMetric(ClipMetric):
    """A metric of masks: keeps the `ClipSums` of every clip."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(WIDTH, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        index: Int[Tensor, " b"],
        sums: ClipSums | None = None,
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips by their places in the data set; `sums` is what was measured of these logits and masks already."""
        measured = ClipSums.measure(logits, masks, valid) if sums is None else sums
        self._keep(index, measured.table)

    def _sums(self) -> ClipSums:
        return ClipSums(self._rows())


class AVSBenchProtocol(_MaskMetric):
    """AVSBench's released protocol for a stated number of clips a batch.

    Clips are grouped in the order of the data set. mIoU is the mean over batches of the mean over the batch's frames;
    F is the mean over batches of the best threshold of the batch's mean curve. The last batch may be smaller and
    weighs as much as the others. A batch without any ground truth has an F of 0, which counts.

    Args:
        batch_clips: Clips a batch. The F-measure depends on it; AVSBench's script uses 4.
    """

    name = "avsbench"

    def __init__(self, batch_clips: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if batch_clips < 1:
            raise ValueError(f"batch_clips must be at least 1, got {batch_clips}")
        self.batch_clips = batch_clips

    @property
    def label(self) -> str:
        """Heading in tables."""
        return f"avsbench (batch {self.batch_clips})"

    def compute(self) -> Scores:
        """Scores of all clips seen."""
        sums = self._sums()
        ious, fscores = [], []
        for rows in torch.split(sums.table, self.batch_clips):
            batch = ClipSums(rows)
            ious.append(batch.scalar("iou").sum() / batch.scalar("frames").sum())
            # The clamp turns a batch without ground truth into 0 / 1.
            curve = batch.curve("fscore").sum(dim=0) / batch.scalar("nonempty").sum().clamp(min=1)
            fscores.append(curve.max())
        return Scores(torch.stack(ious).mean().item(), torch.stack(fscores).mean().item())


class PerClipProtocol(AVSBenchProtocol):
    """AVSBench's rules with one clip as the batch: independent of batch size, our headline."""

    name, label = "per_clip", "per clip"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(batch_clips=1, **kwargs)


class DatasetProtocol(_MaskMetric):
    """Pixels counted over the whole data set before any division: large objects weigh most.

    F takes precision and recall from the summed counts, at the best of the 255 thresholds. Where nothing is marked, in
    truth or by the model, an IoU is 1.
    """

    name, label = "dataset", "data set"

    def compute(self) -> DatasetScores:
        """Scores of all clips seen."""
        sums = self._sums()
        curve = fscore_from_counts(
            sums.curve("true_positives").sum(dim=0),
            sums.curve("predicted").sum(dim=0),
            sums.scalar("positives").sum(),
        )
        foreground = _ratio(sums.scalar("intersection").sum(), sums.scalar("union").sum())
        background = _ratio(sums.scalar("background").sum(), sums.scalar("background_union").sum())
        return DatasetScores(foreground, curve.max().item(), (foreground + background) / 2)


class NonEmptyIoU(_MaskMetric):
    """Mean IoU over the frames that have ground truth, each frame with equal weight; NaN when none has any."""

    name, label = "miou_nonempty", "non-empty mIoU"

    def compute(self) -> float:
        """Score of all clips seen, in [0, 1]."""
        sums = self._sums()
        return (sums.scalar("nonempty_iou").sum() / sums.scalar("nonempty").sum()).item()


def _ratio(part: Tensor, whole: Tensor) -> float:
    return (part / whole).item() if whole > 0 else 1.0
