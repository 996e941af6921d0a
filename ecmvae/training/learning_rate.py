"""The learning rate as a share of its peak, a function of how much of a run is over."""

from __future__ import annotations

import math

_RISE = 0.3
_START = 1 / 25
_END = 1 / 25 / 1e4
_POLY_POWER = 0.9
_WARMUP_START = 0.01


def one_cycle(progress: float) -> float:
    """Share of the peak learning rate at `progress` in [0, 1]: a cosine up over 30 %, a cosine down over the rest.

    Smith & Topin, "Super-convergence", arXiv:1708.07120, in the shape of torch's ``OneCycleLR`` with its defaults (from
    1/25 of the peak, to 1/250,000 of it).
    """
    if progress < _RISE:
        return _cosine(_START, 1.0, progress / _RISE)
    return _cosine(1.0, _END, (min(progress, 1.0) - _RISE) / (1 - _RISE))


def learning_rate_share(schedule: str, progress: float, warmup: float = 0.0) -> float:
    """Share of the peak learning rate at `progress` in [0, 1].

    Args:
        schedule: ``constant``, ``one_cycle``, ``cosine`` (Loshchilov & Hutter, arXiv 1608.03983, without restarts) or
            ``poly`` (power 0.9; Liu et al., ParseNet, arXiv 1506.04579).
        progress: How much of the run is over.
        warmup: Share of the run over which the rate rises linearly from 1 % first; not for ``one_cycle``.
    """
    if schedule == "one_cycle":
        return one_cycle(progress)
    if progress < warmup:
        return _WARMUP_START + (1 - _WARMUP_START) * progress / warmup
    left = (1 - min(progress, 1.0)) / (1 - warmup) if warmup < 1 else 0.0
    if schedule == "constant":
        return 1.0
    return _cosine(1.0, 0.0, 1 - left) if schedule == "cosine" else left**_POLY_POWER


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
