"""Does the model change its mind when the sound changes, and keep silent when nothing is heard?

The definitions are ours: papers use these words for different things.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def false_positive_rate(logits: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Share of each frame's pixels predicted above 0.5; meant for frames whose right answer is empty."""
    return (torch.sigmoid(logits.float()) > 0.5).float().flatten(1).mean(dim=1)


def rejected(logits: Float[Tensor, "n h w"], area: float = 0.01) -> Bool[Tensor, " n"]:
    """Which frames are predicted to hold less than `area` (a share of the frame) of sounding pixels: reject@area."""
    return false_positive_rate(logits) < area


def false_mask(logits: Float[Tensor, "b t h w"], area: float = 0.005) -> Bool[Tensor, " b"]:
    """Which clips have a frame with more than `area` (a share of the frame) of its pixels above 0.5.

    Meant for clips in which nothing visible sounds, where every mask is a false one.
    """
    marked = false_positive_rate(logits.flatten(0, 1)).reshape(logits.shape[:2])
    return (marked > area).any(dim=1)


def audio_sensitivity(
    logits: Float[Tensor, "n h w"], changed: Float[Tensor, "n h w"]
) -> Float[Tensor, " n"]:
    """How much of each frame's prediction a change of sound alters: 1 - IoU of the two predictions.

    0 when nothing changed (also where both are empty), 1 when they have no pixel in common.
    """
    before, after = ((torch.sigmoid(each.float()) > 0.5).flatten(1) for each in (logits, changed))
    both, either = (before & after).sum(dim=1), (before | after).sum(dim=1)
    return torch.where(
        either > 0, 1 - both / either.clamp(min=1), torch.zeros_like(both, dtype=torch.float32)
    )


def robust_score(miou: float, false_positives: float) -> float:
    """Harmonic mean of mIoU under the original sound and 1 - the false-positive rate under a wrong one."""
    kept = 1 - false_positives
    return 2 * miou * kept / (miou + kept) if miou + kept > 0 else 0.0
