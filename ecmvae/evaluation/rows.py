"""Scores of single clips, categories and classes: the rows of a report's CSV files, gathered as a metric is."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.metrics.by_picture import clip_fscore
from ecmvae.metrics.clip_sums import ClipSums
from ecmvae.metrics.extended import confidence
from ecmvae.metrics.localisation import ciou
from ecmvae.metrics.semantic import ClassSums, class_sums
from ecmvae.types import AVBatch


class ClipScores(NamedTuple):
    """Scores of one clip by the per-clip protocol; picture and recording are as in `AVClip`."""

    name: str
    category: str
    frames: int
    sounding_frames: int
    miou: float
    fscore: float
    picture: str = ""
    recording: str = ""


class CategoryScores(NamedTuple):
    """Scores of the clips of one category by the per-clip protocol."""

    clips: int
    miou: float
    fscore: float


class LabelledClipScores(NamedTuple):
    """Scores of one labelled clip: means over the classes that occur in its real frames."""

    name: str
    subset: str
    frames: int
    miou: float
    fscore: float


class ClassScores(NamedTuple):
    """Scores of one class over the real frames in which truth or prediction holds it."""

    number: int
    name: str
    frames: int
    iou: float
    fscore: float


class BoxClipScores(NamedTuple):
    """Scores of one clip that is labelled with boxes: means over its frames that have any."""

    name: str
    category: str
    frames: int
    sounding_frames: int
    ciou: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What was gathered.

    Attributes:
        clips: One entry a clip, in the order of the data set.
        scores: Further scores of the answer, such as those of AVSS' subsets.
        categories: Scores of each named category, sorted by name.
        classes: Scores of the classes that occur, by number.
    """

    clips: Sequence[Any]
    scores: Mapping[str, Any] = field(default_factory=dict)
    categories: Mapping[str, CategoryScores] = field(default_factory=dict)
    classes: Sequence[ClassScores] = ()


class MaskRows:
    """Gathers clips and categories of masks."""

    name, label = "rows", ""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._clips: list[ClipScores] = []

    def update(self, sums: ClipSums, batch: AVBatch) -> None:
        """Add clips, in the order of the data set."""
        frames, sounding = sums.scalar("frames"), sums.scalar("nonempty")
        miou = sums.scalar("iou") / frames
        fscore = clip_fscore(sums)
        categories = batch.categories or [""] * len(sums)
        columns = [each.tolist() for each in (frames.int(), sounding.int(), miou, fscore)]
        heard = [names or [""] * len(sums) for names in (batch.pictures, batch.recordings)]
        self._clips += itertools.starmap(
            ClipScores, zip(batch.names, categories, *columns, *heard, strict=True)
        )

    def compute(self) -> Rows:
        """All rows."""
        grouped: dict[str, list[ClipScores]] = defaultdict(list)
        for clip in self._clips:
            if clip.category:
                grouped[clip.category].append(clip)
        categories = {
            name: CategoryScores(
                len(clips), fmean(clip.miou for clip in clips), fmean(clip.fscore for clip in clips)
            )
            for name, clips in sorted(grouped.items())
        }
        return Rows(clips=self._clips, categories=categories)


class BoxRows:
    """Gathers clips that are labelled with boxes."""

    name, label = "rows", ""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._clips: list[BoxClipScores] = []

    def update(
        self, logits: Float[Tensor, "b t 1 h w"], masks: Float[Tensor, "b t 1 h w"], batch: AVBatch
    ) -> None:
        """Add clips, in the order of the data set."""
        categories = batch.categories or [""] * len(logits)
        for name, category, maps, truth in zip(
            batch.names, categories, logits[:, :, 0], masks[:, :, 0], strict=True
        ):
            boxed = (truth != 0).flatten(1).any(dim=1)
            overlap = float(ciou(maps[boxed], truth[boxed]).mean()) if boxed.any() else math.nan
            sure = float(confidence(maps).mean())
            self._clips.append(
                BoxClipScores(name, category, len(truth), int(boxed.sum()), overlap, sure)
            )

    def compute(self) -> Rows:
        """All rows."""
        return Rows(clips=self._clips)


class ClassRows:
    """Gathers clips, subsets and classes of labelled clips.

    Args:
        class_names: Names of the classes by number.
    """

    name, label = "rows", ""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._names = class_names
        self.reset()

    def reset(self) -> None:
        """Forget all clips."""
        self._clips: list[LabelledClipScores] = []
        self._subsets: dict[str, ClassSums] = {}

    def update(
        self, classes: Int[Tensor, "b t h w"], labels: Int[Tensor, "b t h w"], batch: AVBatch
    ) -> None:
        """Add clips, in the order of the data set."""
        valid = (
            batch.valid
            if batch.valid is not None
            else torch.ones(labels.shape[:2], dtype=torch.bool)
        )
        for k, (name, subset) in enumerate(zip(batch.names, batch.categories, strict=True)):
            sums = class_sums(classes[k][valid[k]], labels[k][valid[k]], len(self._names))
            self._subsets[subset] = (
                self._subsets[subset] + sums if subset in self._subsets else sums
            )
            miou, fscore, *_ = sums.scores()
            self._clips.append(LabelledClipScores(name, subset, int(valid[k].sum()), miou, fscore))

    def compute(self) -> Rows:
        """All rows."""
        first, *others = self._subsets.values()
        sums = sum(others, start=first)
        seen = sums.frames.nonzero().flatten().tolist()
        iou, fscore = (sums.iou / sums.frames).tolist(), (sums.fscore / sums.frames).tolist()
        classes = [
            ClassScores(k, self._names[k], int(sums.frames[k]), iou[k], fscore[k]) for k in seen
        ]
        subsets = {name: each.scores() for name, each in sorted(self._subsets.items()) if name}
        return Rows(clips=self._clips, scores={"subsets": subsets}, classes=classes)
