"""A regulariser of a whole batch: what a loss adds to the negative evidence lower bound.

The bound itself stays as it is; a model with another regulariser overrides `penalties` of `VAE` or `AutoEncoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Penalty:
    """One term of a loss.

    Attributes:
        weight: Its factor; a negative one rewards.
        value: Scalar, without the weight: what is logged.
    """

    weight: float
    value: Float[Tensor, ""]


def penalised(loss: Float[Tensor, ""], penalties: Mapping[str, Penalty]) -> Float[Tensor, ""]:
    """The loss with every penalty times its weight."""
    for penalty in penalties.values():
        loss = loss + penalty.weight * penalty.value
    return loss
