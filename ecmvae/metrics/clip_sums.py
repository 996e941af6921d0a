"""What one clip contributes to every score, and a torchmetrics base that keeps one row of it per clip.

The protocols in use differ in what they average over: batches, clips or the whole set. Keeping a row per clip, under
the clip's place in the data set, makes every one of them independent of how the clips were batched, in which order
they came and how many processes shared them; a clip that a distributed sampler hands out twice counts once.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from ecmvae.metrics.functional import (
    NUM_THRESHOLDS,
    avsbench_iou,
    fscore_from_counts,
    threshold_counts,
)

_SCALARS = (
    *("frames", "iou", "nonempty", "nonempty_iou"),
    *("intersection", "union", "background", "background_union", "positives"),
)
_CURVES = ("fscore", "true_positives", "predicted")
WIDTH = len(_SCALARS) + len(_CURVES) * NUM_THRESHOLDS
"""Numbers kept for each clip."""


class ClipSums:
    """Sums over the frames of each clip, as named columns of one table.

    Attributes:
        table: (b, WIDTH) float32. Whole numbers in it are exact up to 2^24 pixels a clip.
    """

    def __init__(self, table: Float[Tensor, "b width"]) -> None:
        self.table = table

    @classmethod
    def measure(
        cls,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> ClipSums:
        """Measure the clips of one batch; masks are exactly 0 or 1, and frames that are not valid count nowhere."""
        clips, frames = logits.shape[:2]
        flat_logits, flat_masks = logits.flatten(0, 1).float(), masks.flatten(0, 1)
        iou = avsbench_iou(flat_logits, flat_masks)
        true_positives, predicted, positives = threshold_counts(flat_logits, flat_masks)
        nonempty = (positives > 0).float()
        curve = fscore_from_counts(true_positives, predicted, positives) * nonempty[:, None]

        on = torch.sigmoid(flat_logits).flatten(1) > 0.5
        truth = flat_masks.flatten(1) != 0
        pixels = float(truth.shape[1])
        intersection, union = (on & truth).sum(1).float(), (on | truth).sum(1).float()
        scalars = (
            torch.ones_like(iou),
            iou,
            nonempty,
            iou * nonempty,
            intersection,
            union,
            pixels - union,
            pixels - intersection,
            positives,
        )
        per_frame = torch.cat(
            [torch.stack(scalars, dim=1), curve, true_positives, predicted], dim=1
        )
        if valid is not None:
            per_frame = per_frame * valid.flatten()[:, None]
        return cls(per_frame.reshape(clips, frames, WIDTH).sum(dim=1))

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.table)

    def scalar(self, name: str) -> Float[Tensor, " b"]:
        """One number a clip, by name, in float64."""
        return self.table[:, _SCALARS.index(name)].double()

    def curve(self, name: str) -> Float[Tensor, "b 255"]:
        """One number a clip and threshold, by name, in float64."""
        start = len(_SCALARS) + _CURVES.index(name) * NUM_THRESHOLDS
        return self.table[:, start : start + NUM_THRESHOLDS].double()


class ClipMetric(Metric):
    """A torchmetrics `Metric` whose state is one row of numbers per clip, kept under the clip's index.

    Subclasses say what a row is by calling `_keep` in `update`, and read all rows in data-set order by `_rows`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    _kept: list[Tensor]

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._width = width
        # Rows are kept flat: torchmetrics gathers a process that saw no clip as an empty tensor of one dimension.
        self.add_state("_kept", default=[], dist_reduce_fx="cat")

    def _keep(self, index: Int[Tensor, " b"], rows: Float[Tensor, "b width"]) -> None:
        numbered = torch.cat([index.to(rows)[:, None], rows.detach().float()], dim=1)
        self._kept.append(numbered.flatten())

    def _rows(self) -> Float[Tensor, "b width"]:
        """All rows on the CPU, in the order of the data set, each clip once."""
        if isinstance(self._kept, list) and not self._kept:
            raise ValueError(f"{type(self).__name__} has seen no clip: call update first")
        numbered = dim_zero_cat(self._kept).cpu().reshape(-1, self._width + 1)
        order = numbered[:, 0].argsort(stable=True)
        numbered = numbered[order]
        first = torch.ones(len(numbered), dtype=torch.bool)
        first[1:] = numbered[1:, 0] != numbered[:-1, 0]
        return numbered[first, 1:]
