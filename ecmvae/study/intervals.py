"""95 % intervals of a score that was measured with several seeds on the same clips.

Two things make such a score uncertain: the seed of the training and the choice of the clips. The bootstrap draws both,
independently of each other, with replacement: the "pigeonhole bootstrap" of crossed factors (Owen, Annals of Applied
Statistics 2007, arXiv:0712.1111), which errs on the side of too wide an interval. Clips that show the same picture are
drawn together. With scores of whole runs alone the interval is Student's t over the seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
"""Bootstrap samples of an interval."""


class Interval(NamedTuple):
    """A value with its 95 % interval; low and high are None where a single seed or clip gives none."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Such as ``0.4120 [0.3511, 0.4702]``."""
        return f"{self.value:.4f}" + (
            "" if self.low is None else f" [{self.low:.4f}, {self.high:.4f}]"
        )


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean of one value a seed, with Student's t interval; without bounds of a single seed."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    from scipy.special import stdtrit

    half = (
        float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    )
    return Interval(mean, mean - half, mean + half)


def over_seeds_and_clips(
    values: Float[np.ndarray, "seeds clips"],
    clusters: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of the scores of clips, with the interval of a bootstrap over seeds and clusters of clips.

    A single seed is not drawn, nor is a single cluster: the interval is then that of the other factor alone.

    Args:
        values: A clip's score in the run of each seed, or its difference between two runs of the same seed.
        clusters: What each clip is drawn with: its picture, or its own name.
        resamples: Bootstrap samples.
        seed: Seed of the samples.
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.stack([np.bincount(cluster, weights=row) for row in values])  # (seeds, clusters)
    sizes = np.bincount(cluster).astype(float)
    mean = float(values.mean())
    if len(values) == len(names) == 1:
        return Interval(mean, None, None)
    generator = np.random.default_rng(seed)
    seeds, clips = (_counts(generator, count, resamples) for count in sums.shape)
    drawn = ((seeds @ sums) * clips).sum(axis=1) / (len(values) * (clips @ sizes))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def _counts(
    generator: np.random.Generator, items: int, resamples: int
) -> Float[np.ndarray, "resamples items"]:
    """How often each of the items is in each sample of as many, drawn with replacement."""
    return generator.multinomial(items, np.full(items, 1 / items), size=resamples).astype(float)
