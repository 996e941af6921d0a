"""J&F in its three meanings: a region measure and an F-measure, averaged, which are not the same ones in every paper.

1. `AvsJF`: AVSBench's mIoU and F-measure of pixels (beta^2 = 0.3); outlines play no part. Papers after CATR print it.
2. `DavisJF`: J and the F-measure of outlines of the DAVIS benchmark (Perazzi et al., CVPR 2016; arXiv:1704.00675).
3. `OmniAvsJF`: the latter with the rule for clips without ground truth of OmniAVS (ICCV 2025), as its script runs. Its
   code names a tolerance of 0.002 but does not hand it on: outlines are compared with DAVIS' 0.008.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import conv2d

from ecmvae.metrics.clip_sums import ClipMetric
from ecmvae.metrics.functional import marked
from ecmvae.metrics.protocols import AVSBenchProtocol

TOLERANCE = 0.008
"""Distance at which two outlines still match, as a share of the picture's diagonal."""


class JFScores(NamedTuple):
    """Fractions in [0, 1]: the mean of J and F, J (regions), and F."""

    jf: float
    j: float
    f: float


def region_similarity(
    predicted: Bool[Tensor, "n h w"], truth: Bool[Tensor, "n h w"], epsilon: float = 0.0
) -> Float[Tensor, " n"]:
    """J of each frame: intersection over union, 1 where both are empty.

    Args:
        predicted: (n, H, W).
        truth: (n, H, W).
        epsilon: Added to both counts of pixels.

    Example:
        >>> marked = torch.tensor([[[True, True], [False, False]]])
        >>> region_similarity(marked, torch.tensor([[[True, False], [False, False]]])).item()
        0.5
    """
    intersection = (predicted & truth).flatten(1).sum(dim=1).double() + epsilon
    union = (predicted | truth).flatten(1).sum(dim=1).double() + epsilon
    return torch.where(union > 0, intersection / union.clamp(min=1e-12), 1.0)


def outline(masks: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """Pixels that differ from their neighbour to the right, below, or both; DAVIS' outline, one pixel wide.

    The last row is compared to the right only, the last column below only, and the last corner is never one.
    """
    right, below, both = torch.zeros_like(masks), torch.zeros_like(masks), torch.zeros_like(masks)
    right[:, :, :-1], below[:, :-1] = masks[:, :, 1:], masks[:, 1:]
    both[:, :-1, :-1] = masks[:, 1:, 1:]
    edges = (masks ^ right) | (masks ^ below) | (masks ^ both)
    edges[:, -1] = masks[:, -1] ^ right[:, -1]
    edges[:, :, -1] = masks[:, :, -1] ^ below[:, :, -1]
    edges[:, -1, -1] = False
    return edges


def boundary_fscore(
    predicted: Bool[Tensor, "n h w"], truth: Bool[Tensor, "n h w"], tolerance: float = TOLERANCE
) -> Float[Tensor, " n"]:
    """F of the outlines of each frame: 2 P R / (P + R).

    P is the share of the predicted outline that lies within the tolerance of the true one, R the reverse. Where both
    masks have no outline, F is 1; where one has none, it is 0.

    Args:
        predicted: (n, H, W).
        truth: (n, H, W).
        tolerance: As a share of the picture's diagonal; in pixels it is rounded up.
    """
    height, width = truth.shape[1:]
    reach = math.ceil(tolerance * math.hypot(height, width))
    lines = [outline(masks) for masks in (predicted, truth)]
    near = [_grown(line, reach) for line in lines]
    drawn, real = (line.flatten(1).sum(dim=1).double() for line in lines)
    precision = (lines[0] & near[1]).flatten(1).sum(dim=1) / drawn.clamp(min=1)
    recall = (lines[1] & near[0]).flatten(1).sum(dim=1) / real.clamp(min=1)
    fscore = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return torch.where((drawn == 0) & (real == 0), 1.0, fscore)


class AvsJF(AVSBenchProtocol):
    """The mean of AVSBench's mIoU and F-measure, by its released protocol (see `AVSBenchProtocol`)."""

    name, label = "avs_jf", "J&F (AVS)"

    def compute(self) -> JFScores:  # type: ignore[override]  # the mean besides
        """Scores of all clips seen."""
        miou, fscore = super().compute()
        return JFScores((miou + fscore) / 2, miou, fscore)


class DavisJF(ClipMetric):
    """J and outline F of DAVIS, at a probability above 0.5: means over the frames of a clip, then over clips."""

    name, label = "davis", "J&F (DAVIS)"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(3, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        index: Int[Tensor, " b"],
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips by their places in the data set; masks are exactly 0 or 1."""
        rows = []
        for number, (predicted, truth) in enumerate(
            zip(marked(logits)[:, :, 0], (masks > 0)[:, :, 0], strict=True)
        ):
            kept = slice(None) if valid is None else valid[number]
            rows.append(self._row(predicted[kept], truth[kept]))
        self._keep(index, torch.stack(rows))

    def _row(
        self, predicted: Bool[Tensor, "t h w"], truth: Bool[Tensor, "t h w"]
    ) -> Float[Tensor, "3"]:
        """1, J and F of a clip; zeros where none of its frames counts."""
        if len(truth) == 0:
            return torch.zeros(3, dtype=torch.float64, device=truth.device)
        means = [
            region_similarity(predicted, truth).mean(),
            boundary_fscore(predicted, truth).mean(),
        ]
        return torch.stack([torch.ones_like(means[0]), *means])

    def compute(self) -> JFScores:
        """Scores of all clips seen."""
        clips, j, f = self._rows().double().sum(dim=0).tolist()
        return JFScores((j + f) / (2 * clips), j / clips, f / clips)


class OmniAvsJF(DavisJF):
    """As `DavisJF`, with OmniAVS' J and its rule for a clip without any ground truth: 1 if nothing is marked, else 0.

    OmniAVS averages this over its eight splits.
    """

    name, label = "omniavs", "J&F (OmniAVS)"

    def _row(
        self, predicted: Bool[Tensor, "t h w"], truth: Bool[Tensor, "t h w"]
    ) -> Float[Tensor, "3"]:
        row = super()._row(predicted, truth)
        if len(truth) == 0:
            return row
        if not truth.any():
            row[1:] = float(not predicted.any())
        else:
            row[1] = region_similarity(predicted, truth, epsilon=1e-7).mean()
        return row


def _grown(lines: Bool[Tensor, "n h w"], reach: int) -> Bool[Tensor, "n h w"]:
    """Pixels within `reach` of a line (a disc)."""
    steps = torch.arange(-reach, reach + 1, device=lines.device)
    disc = (steps[:, None] ** 2 + steps**2 <= reach**2).float()
    return conv2d(lines[:, None].float(), disc[None, None], padding=reach)[:, 0] > 0.5
