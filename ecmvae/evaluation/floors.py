"""Trivial answers to compare a model with: what can be scored without hearing anything.

A model that marks whatever stands out gets far in mIoU, so these numbers belong next to every score. Floors that need
to know the objects exist for composed data only.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.types import AVBatch


def floor_logits(batch: AVBatch, index: Int[Tensor, " b"], seed: int = 0) -> dict[str, Float[Tensor, "b t 1 h w"]]:
    """The answers of models that do not listen, as logits of plus or minus infinity.

    Args:
        batch: Clips with masks.
        index: (B,) each clip's place in the data set; decides which object is drawn, whatever the batching.
        seed: Seed of the drawn objects.

    Returns:
        By name: `all_background`; `all_foreground`; where the objects are known also `all_objects` (perfect saliency:
        everything that could sound) and `random_object` (one of the clip's visible objects, the same in all frames).

    Raises:
        ValueError: When the batch has no masks.
    """
    if batch.masks is None:
        raise ValueError("floors need ground truth: load a split with masks")
    nothing = torch.zeros_like(batch.masks, dtype=torch.bool)
    marked = {"all_background": nothing, "all_foreground": ~nothing}
    if batch.objects is not None:
        objects = batch.objects.unsqueeze(2)
        drawn = torch.tensor([_draw(clip, int(i), seed) for clip, i in zip(batch.objects, index, strict=True)])
        marked["all_objects"] = objects > 0
        marked["random_object"] = objects == drawn.to(objects.device).reshape(-1, 1, 1, 1, 1)
    infinity = torch.tensor(torch.inf, device=nothing.device)
    return {name: torch.where(where, infinity, -infinity) for name, where in marked.items()}


def _draw(objects: Tensor, index: int, seed: int) -> int:
    """Number of one visible object of a clip; -1, which marks nothing, where there is none."""
    visible = [number for number in sorted(set(objects.flatten().tolist())) if number > 0]
    if not visible:
        return -1
    chance = torch.Generator().manual_seed(seed * 1_000_003 + index)
    return int(visible[int(torch.randint(len(visible), (), generator=chance))])
