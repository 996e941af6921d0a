"""Localisation with abstention: average precision and max-F1 of sets that add pictures in which nothing sounds.

Mo and Morgado, "A closer look at weakly-supervised audio-visual source localization", NeurIPS 2022 (arXiv:2209.09634),
as its released code computes them. A model says how sure it is that something sounds; below a threshold it abstains.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ecmvae.metrics.clip_sums import ClipMetric
from ecmvae.metrics.localisation import ciou, stills


class ExtendedScores(NamedTuple):
    """Fractions.

    Attributes:
        ap: Average precision over the thresholds.
        max_f1: Best F1 over eleven or so thresholds.
        loc_acc: Share of the pictures with an object whose cIoU is at least 0.5, without abstention (LocAcc).
    """

    ap: float
    max_f1: float
    loc_acc: float


def confidence(logits: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Mean of the highest quarter of the probabilities of each frame."""
    values = torch.sigmoid(logits.double()).flatten(1)
    return values.topk(-(-values.shape[1] // 4), dim=1).values.mean(dim=1)


def precision_recall(
    confidences: Float[np.ndarray, " n"],
    overlaps: Float[np.ndarray, " n"],
    present: Bool[np.ndarray, " n"],
    cut: float,
) -> tuple[float, float]:
    """Precision and recall when pictures with a confidence below `cut` are abstained from.

    A picture without an object is wrong when it is answered. One with an object is right when it is answered with a
    cIoU of at least 0.5, wrong when with less, and missed when it is abstained from. Without any answer, precision is
    1; without anything right or missed, recall is 1.
    """
    answered, hit = confidences >= cut, overlaps >= 0.5
    right = int((answered & present & hit).sum())
    wrong = int((answered & ~(present & hit)).sum())
    missed = int((~answered & present).sum())
    precision = right / (right + wrong) if right + wrong else 1.0
    return precision, right / (right + missed) if right + missed else 1.0


def extended_scores(
    confidences: Float[np.ndarray, " n"],
    overlaps: Float[np.ndarray, " n"],
    present: Bool[np.ndarray, " n"],
) -> ExtendedScores:
    """AP, max-F1 and LocAcc.

    AP sums, from the highest threshold down, the gain in recall times the best precision from that threshold on. The
    thresholds are the sorted confidences without the highest one, thinned to some 200; those of F1 to some ten.
    """
    ordered, count = np.sort(confidences), len(confidences)
    curve = [
        precision_recall(confidences, overlaps, present, cut)
        for cut in ordered[:-1][:: -max(1, count // 200)]
    ]
    precisions, recalls = np.array(curve).reshape(-1, 2).T
    best = np.maximum.accumulate(precisions[::-1])[::-1]
    few = [
        precision_recall(confidences, overlaps, present, cut)
        for cut in ordered[:: max(1, count // 10)]
    ]
    return ExtendedScores(
        ap=float((best[:-1] * np.diff(recalls)).sum()),
        max_f1=max((2 * p * r / (p + r) if p + r > 0 else 0.0) for p, r in few),
        loc_acc=float((overlaps[present] >= 0.5).mean()) if present.any() else float("nan"),
    )


class Extended(ClipMetric):
    """`ExtendedScores` of single pictures, with or without an object that sounds."""

    name, label = "extended", "extended"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(3, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        index: Int[Tensor, " b"],
    ) -> None:
        """Add clips of one frame; a `UserError` if they have more."""
        maps, truth = stills(logits, self.name), stills(masks, self.name)
        present = (truth != 0).flatten(1).any(dim=1).double()
        self._keep(
            index,
            torch.stack([confidence(maps), ciou(maps, truth, inclusive=True), present], dim=1),
        )

    def compute(self) -> ExtendedScores:
        """Scores of all pictures seen."""
        confidences, overlaps, present = self._rows().double().numpy().T
        return extended_scores(confidences, overlaps, present > 0)
