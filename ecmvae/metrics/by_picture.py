"""Confidence intervals that do not mistake many clips of few pictures for much evidence: a bootstrap over pictures.

Composed clips show the same few pictures again and again, so their scores are not independent. A cluster bootstrap
(Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8) draws pictures with replacement and
takes all clips of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ecmvae.metrics.clip_sums import ClipSums
from ecmvae.metrics.right_of_two import right_of_two

RESAMPLES = 2000
"""Bootstrap samples of an interval."""


class Interval(NamedTuple):
    """A value with its 95 % interval; low and high are None where a single picture gives none."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Such as ``.412 [.35-.47]``, or ``-0.408 [-0.56 to -0.25]`` of a difference: short enough for a table."""
        value = f"{self.value:.3f}".removeprefix("0")
        bounds = [
            f"{bound:.2f}".removeprefix("0") for bound in (self.low, self.high) if bound is not None
        ]
        between = " to " if any(bound.startswith("-") for bound in bounds) else "-"
        return f"{value} [{between.join(bounds)}]" if bounds else value


class PictureScores(NamedTuple):
    """Scores of clips whose pictures are known, with intervals by picture.

    Attributes:
        pictures: Number of different pictures among the clips' sounding objects.
        recordings: Number of different recordings.
        clips: Number of clips.
        miou: Mean IoU of a clip.
        fscore: Mean F-measure of a clip.
        right_of_two: See `ecmvae.metrics.right_of_two`; None where no frame can be scored.
    """

    pictures: int
    recordings: int
    clips: int
    miou: Interval
    fscore: Interval
    right_of_two: Interval | None


def cluster_bootstrap(
    part: Float[np.ndarray, " n"],
    whole: Float[np.ndarray, " n"],
    clusters: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """The ratio of two sums over clips, with the 95 % percentile interval of a bootstrap over clusters of clips.

    Args:
        part: (n,) a clip's contribution to the numerator.
        whole: (n,) its contribution to the denominator: 1 for a mean over clips. Clips with 0 are left out.
        clusters: (n,) the cluster of each clip, such as its picture.
        resamples: Bootstrap samples.
        seed: Seed of the samples.

    Returns:
        The ratio and its interval; without bounds if all clips are of one cluster; None if every `whole` is 0.
    """
    counted = whole > 0
    if not counted.any():
        return None
    names, cluster = np.unique(np.asarray(clusters)[counted], return_inverse=True)
    parts, wholes = (np.bincount(cluster, weights=each[counted]) for each in (part, whole))
    value = float(parts.sum() / wholes.sum())
    if len(names) == 1:
        return Interval(value, None, None)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    low, high = np.quantile(parts[drawn].sum(axis=1) / wholes[drawn].sum(axis=1), (0.025, 0.975))
    return Interval(value, float(low), float(high))


class ByPicture:
    """`PictureScores` of masks, on one process. The clips of a picture are those in which it sounds longest."""

    name, label, graded = "by_picture", "", True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._rows: list[tuple[float, float, float, float]] = []
        self._pictures: list[str] = []
        self._recordings: set[str] = set()

    def update(
        self,
        sums: ClipSums,
        pictures: tuple[str, ...],
        recordings: tuple[str, ...],
        logits: Float[Tensor, "b t 1 h w"],
        objects: Int[Tensor, "b t h w"],
        sounding: Bool[Tensor, "b t o"],
    ) -> None:
        """Add clips; the arguments are those of the built-in metrics and fields of `AVBatch`."""
        right = right_of_two(logits.flatten(0, 2), objects.flatten(0, 1), sounding.flatten(0, 1))
        right = right.reshape(objects.shape[:2])
        scored = (~right.isnan()).sum(dim=1)
        columns = (
            sums.scalar("iou") / sums.scalar("frames"),
            clip_fscore(sums),
            right.nan_to_num(0).sum(dim=1),
            scored,
        )
        self._rows += zip(*(column.double().tolist() for column in columns), strict=True)
        self._pictures += pictures
        self._recordings.update(recordings)

    def compute(self) -> PictureScores:
        """Scores of all clips seen."""
        miou, fscore, right, scored = np.array(self._rows).T
        clips = np.ones(len(miou))
        means = [cluster_bootstrap(values, clips, self._pictures) for values in (miou, fscore)]
        assert means[0] is not None
        assert means[1] is not None
        return PictureScores(
            pictures=len(set(self._pictures)),
            recordings=len(self._recordings),
            clips=len(miou),
            miou=means[0],
            fscore=means[1],
            right_of_two=cluster_bootstrap(right, scored, self._pictures),
        )


def clip_fscore(sums: ClipSums) -> Float[Tensor, " b"]:
    """F-measure of each clip by the per-clip protocol: the best threshold of its mean curve, 0 without ground truth."""
    return (sums.curve("fscore") / sums.scalar("nonempty").clamp(min=1)[:, None]).amax(dim=1)
