"""Maximum mean discrepancy: a distance of two distributions that needs samples only.

Gretton et al., "A kernel two-sample test", 2012: MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y). The inverse
multiquadratic kernel over several scales is that of Tolstikhin et al., 2018 (arXiv:1711.01558).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Factors on the base width 2 L of the inverse multiquadratic kernel, one term each."""

Kernel = Literal["imq", "rbf"]


def mmd(x: Float[Tensor, "n l"], y: Float[Tensor, "m l"], kernel: str = "imq") -> Float[Tensor, ""]:
    """Unbiased estimate of MMD^2, without the pairs of a sample with itself; it may be below 0.

    Args:
        x: n >= 2 independent samples.
        y: m >= 2 samples of the other distribution, independent of `x`.
        kernel: "imq", sum over `SCALES` s of C / (C + d^2) with C = 2 L s, or "rbf", exp(-d^2 / (2 L)).

    Raises:
        ValueError: With fewer than 2 samples, or an unknown kernel.
    """
    if kernel not in get_args(Kernel):
        raise ValueError(f"unknown kernel {kernel!r}: choose from {', '.join(get_args(Kernel))}")
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"MMD needs at least 2 samples of each distribution, got {len(x)} and {len(y)}"
        )
    return _within(x, kernel) + _within(y, kernel) - 2.0 * _kernel(x, y, kernel).mean()


def _within(x: Tensor, kernel: str) -> Tensor:
    table = _kernel(x, x, kernel)
    return (table.sum() - table.diagonal().sum()) / (len(x) * (len(x) - 1))


def _kernel(x: Tensor, y: Tensor, kernel: str) -> Tensor:
    width = 2.0 * x.shape[1]
    # not cdist, whose gradient at 0 is not defined
    squared = (x[:, None] - y[None]).square().sum(-1)
    if kernel == "rbf":
        return torch.exp(-squared / width)
    return torch.stack([scale * width / (scale * width + squared) for scale in SCALES]).sum(0)
