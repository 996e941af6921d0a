"""S of a null set: how much is marked in clips in which nothing should be; two papers mean two things by it.

Ref-AVS (Wang et al., arXiv:2407.10957) prints the square root of the share of marked pixels, per clip; AuralSAM2's
script, under the same name, the share itself over the whole set: 1 % of the pixels is 0.10 by the first and 0.01 by the
second. Lower is better by both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ecmvae.metrics.clip_sums import ClipMetric
from ecmvae.metrics.functional import marked


class NullScores(NamedTuple):
    """S of the clips without any ground truth; None where there is no such clip.

    Attributes:
        s_root: Mean over clips of sqrt(marked pixels / pixels), Ref-AVS' S.
        s_share: Marked pixels / pixels of all these clips together, AuralSAM2's S.
        null_clips: Number of these clips.
    """

    s_root: float | None
    s_share: float | None
    null_clips: int


def null_s(logits: Float[Tensor, "b t h w"]) -> Float[Tensor, " b"]:
    """Ref-AVS' S of each clip: the square root of its share of pixels with a probability above 0.5.

    Example:
        >>> null_s(torch.tensor([[[[3.0, -3.0], [-3.0, -3.0]]]])).item()
        0.5
    """
    return marked(logits).flatten(1).double().mean(dim=1).sqrt()


class NullSet(ClipMetric):
    """`NullScores`; clips that have ground truth in any frame are left out."""

    name, label = "null_set", "null set"
    higher_is_better = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(4, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        index: Int[Tensor, " b"],
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips by their places in the data set."""
        counted = (
            torch.ones(masks.shape[:2], dtype=torch.bool, device=masks.device)
            if valid is None
            else valid
        )
        predicted = (marked(logits).flatten(2).sum(dim=2) * counted).sum(dim=1).double()
        pixels = counted.sum(dim=1) * masks[0, 0].numel()
        null = ~(masks != 0).flatten(1).any(dim=1) & (pixels > 0)
        root = (predicted / pixels.clamp(min=1)).sqrt()
        self._keep(index, torch.stack([null, root, predicted, pixels], dim=1) * null[:, None])

    def compute(self) -> NullScores:
        """Scores of all clips seen."""
        clips, root, predicted, pixels = self._rows().double().sum(dim=0).tolist()
        return (
            NullScores(root / clips, predicted / pixels, round(clips))
            if clips
            else NullScores(None, None, 0)
        )
