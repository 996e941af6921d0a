"""What a text-prompted segmenter finds in one frame, put together with what is heard: probability, names, things."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

INAUDIBLE = 0.01
"""A concept that is less active is not looked for: it could add a hundredth to p at most."""


@dataclass(frozen=True, eq=False)
class Things:
    """The single things that were found in one frame, whether they sound or not.

    Attributes:
        masks: (I, P, P), where each is.
        classes: (I,), its concept, counted from 1.
        numbers: (P, P), at each pixel the thing that sounds there most likely, counted from 1; 0 where none is audible.
    """

    masks: Bool[Tensor, "i p p"]
    classes: UInt8[Tensor, " i"]
    numbers: UInt8[Tensor, "p p"]


def combine(
    masks: Float[Tensor, "i p p"], concepts: Int64[Tensor, " i"], activity: Float[Tensor, " k"]
) -> tuple[Float[Tensor, "p p"], UInt8[Tensor, "p p"], UInt8[Tensor, "p p"]]:
    """The formula 1 - prod_k (1 - a_k m_k), where a concept's mask m_k is the largest of its things'.

    Args:
        masks: Probability that a pixel belongs to each of I things.
        concepts: Which of K concepts each thing is.
        activity: (K,) in [0, 1].

    Returns:
        Probability, likeliest concept and likeliest thing, both counted from 1; 0 everywhere if none is audible.
    """
    audible = (activity[concepts] >= INAUDIBLE).nonzero()[:, 0]
    if not len(audible):
        probability = masks.new_zeros(masks.shape[-2:])
        nothing = torch.zeros_like(probability, dtype=torch.uint8)
        return probability, nothing, nothing
    of = concepts[audible]
    sounding = activity[of][:, None, None] * masks[audible]
    silent = torch.ones_like(sounding[0])
    for concept in set(of.tolist()):
        silent = silent * (1 - sounding[of == concept].amax(dim=0))
    first = sounding.argmax(dim=0)
    return 1 - silent, (of[first] + 1).to(torch.uint8), (audible[first] + 1).to(torch.uint8)
