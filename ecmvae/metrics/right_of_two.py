"""Does the model light up the object that is heard rather than the one that is only seen?

mIoU is a poor test of hearing: an audio-blind model that marks every object scores well. Right-of-two looks only at
which of the visible objects got the higher probability, so chance is 1/2 whatever the sizes of the objects.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ecmvae.metrics.clip_sums import ClipMetric


def right_of_two(
    logits: Float[Tensor, "n h w"], objects: Int[Tensor, "n h w"], sounding: Bool[Tensor, "n o"]
) -> Float[Tensor, " n"]:
    """Score of each frame: the share of silent visible objects whose mean probability the sounding one's exceeds.

    With two objects this is 1 when the right one is brighter and 0 otherwise; ties are wrong. Only frames with exactly
    one visible object that sounds and at least one visible object that does not are scored.

    Args:
        logits: (n, H, W).
        objects: (n, H, W), 0 = background, k = visible pixels of object k.
        sounding: (n, O), column k-1 says whether object k sounds.

    Returns:
        (n,) float32 in [0, 1], NaN where a frame is not scored.
    """
    n, count = sounding.shape
    probability = torch.sigmoid(logits.float()).flatten(1)
    if n and int(objects.max()) > count:
        raise ValueError(
            f"objects holds number {int(objects.max())} but sounding has only {count} columns"
        )
    nothing, where = probability.new_zeros(n, count + 1), objects.flatten(1).long()
    pixels = nothing.scatter_add(1, where, torch.ones_like(probability))
    bright = nothing.scatter_add(1, where, probability)
    visible = pixels[:, 1:] > 0  # (n, O)
    mean = bright[:, 1:] / pixels[:, 1:].clamp(min=1)

    heard, silent = visible & sounding, visible & ~sounding
    scored = (heard.sum(dim=1) == 1) & silent.any(dim=1)
    beaten = silent & (mean < (mean * heard).sum(dim=1, keepdim=True))
    share = beaten.sum(dim=1) / silent.sum(dim=1).clamp(min=1)
    return share.masked_fill(~scored, torch.nan)


class RightOfTwo(ClipMetric):
    """Mean of `right_of_two` over all scored frames; NaN when no frame can be scored."""

    name, label = "right_of_two", "right of two"
    graded = True  # it ranks probabilities: an answer of zeros and ones has no order to score

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(2, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        objects: Int[Tensor, "b t h w"],
        sounding: Bool[Tensor, "b t o"],
        index: Int[Tensor, " b"],
    ) -> None:
        """Add clips by their places in the data set; objects and sounding are as in `AVBatch`."""
        clips, frames = logits.shape[:2]
        score = right_of_two(logits.flatten(0, 2), objects.flatten(0, 1), sounding.flatten(0, 1))
        score = score.reshape(clips, frames)
        scored = ~score.isnan()
        self._keep(
            index, torch.stack([score.nan_to_num(0).sum(dim=1), scored.float().sum(dim=1)], dim=1)
        )

    def compute(self) -> float:
        """Share of frames in [0, 1]."""
        right, scored = self._rows().double().sum(dim=0).tolist()
        return right / scored if scored else float("nan")
