"""All scores of one way to answer, gathered batch by batch: the three protocols, per clip and per category."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.evaluation.listening import mean_logits
from ecmvae.metrics import (
    AVSBenchProtocol,
    DatasetProtocol,
    DatasetScores,
    NonEmptyIoU,
    PerClipProtocol,
    RightOfTwo,
    Scores,
)
from ecmvae.metrics.calibration import CalibrationError, predictive_entropy, risk_coverage
from ecmvae.metrics.clip_sums import ClipSums
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.types import AVBatch


@dataclass(frozen=True, kw_only=True)
class AnswerScores:
    """Scores of one way to answer; every number is a fraction.

    Attributes:
        avsbench: AVSBench's released protocol at the stated number of clips a batch.
        per_clip: The same with one clip as the unit: our headline.
        dataset: Intersections and unions summed over the set.
        miou_nonempty: Mean IoU of the frames in which something sounds; None where there is none.
        right_of_two: Share of frames in which the object that sounds is brighter than the one that does not; None
            where the objects are unknown or the answer cannot prefer one.
    """

    avsbench: Scores
    per_clip: Scores
    dataset: DatasetScores
    miou_nonempty: float | None
    right_of_two: float | None


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """Scores of one clip by the per-clip protocol."""

    name: str
    category: str
    frames: int
    sounding_frames: int
    miou: float
    fscore: float


@dataclass(frozen=True, kw_only=True)
class CategoryScores:
    """Scores of the clips of one category by the per-clip protocol."""

    clips: int
    miou: float
    fscore: float


@dataclass(frozen=True, kw_only=True)
class UncertaintyScores:
    """How far the model's probabilities can be trusted.

    Attributes:
        calibration_error: Expected calibration error of pixels in [0, 1].
        entropy: Mean entropy of a pixel's mean probability over the latent draws, in bits.
        risk_coverage_area: Mean of 1 - IoU over the most certain frames, averaged over all shares of frames kept; as
            small as possible where the least certain frames are the worst ones.
        miou_spread: Standard deviation of mIoU over latent draws; None for a single one.
    """

    calibration_error: float
    entropy: float
    risk_coverage_area: float
    miou_spread: float | None


class Scorer:
    """Gathers the answers to all clips and scores them.

    Args:
        batch_clips: Clips a batch of AVSBench's protocol.
        graded: Whether the answers are probabilities; right-of-two is only asked of those.
    """

    def __init__(self, batch_clips: int = 4, graded: bool = True) -> None:
        self._avsbench, self._per_clip = AVSBenchProtocol(batch_clips), PerClipProtocol()
        self._dataset, self._nonempty = DatasetProtocol(), NonEmptyIoU()
        self._right = RightOfTwo() if graded else None
        self._right_seen = False
        self.clips: list[ClipScores] = []

    def update(self, logits: Float[Tensor, "b t 1 h w"], batch: AVBatch, index: Int[Tensor, " b"]) -> None:
        """Add the answers to a batch with masks; clips come in the order of the data set."""
        assert batch.masks is not None
        sums = ClipSums.measure(logits, batch.masks)
        for metric in (self._avsbench, self._per_clip, self._dataset, self._nonempty):
            metric.add(sums, index)
        if self._right is not None and batch.objects is not None and batch.sounding is not None:
            self._right.update(logits, batch.objects, batch.sounding, index)
            self._right_seen = True
        frames, sounding = sums.scalar("frames"), sums.scalar("nonempty")
        miou = sums.scalar("iou") / frames
        fscore = (sums.curve("fscore") / sounding.clamp(min=1)[:, None]).amax(dim=1)
        categories = batch.categories or ("",) * len(batch.names)
        for k, (name, category) in enumerate(zip(batch.names, categories, strict=True)):
            self.clips.append(
                ClipScores(
                    name=name,
                    category=category,
                    frames=int(frames[k]),
                    sounding_frames=int(sounding[k]),
                    miou=float(miou[k]),
                    fscore=float(fscore[k]),
                )
            )

    def compute(self) -> AnswerScores:
        """Scores of all clips seen."""
        return AnswerScores(
            avsbench=self._avsbench.compute(),
            per_clip=self._per_clip.compute(),
            dataset=self._dataset.compute(),
            miou_nonempty=_known(self._nonempty.compute()),
            right_of_two=_known(self._right.compute()) if self._right is not None and self._right_seen else None,
        )

    def categories(self) -> dict[str, CategoryScores]:
        """Scores of each named category, sorted by name."""
        grouped: dict[str, list[ClipScores]] = defaultdict(list)
        for clip in self.clips:
            if clip.category:
                grouped[clip.category].append(clip)
        return {
            name: CategoryScores(
                clips=len(clips),
                miou=sum(clip.miou for clip in clips) / len(clips),
                fscore=sum(clip.fscore for clip in clips) / len(clips),
            )
            for name, clips in sorted(grouped.items())
        }


class UncertaintyScorer:
    """How far the model's probabilities can be trusted, and how much its latent draws differ.

    Args:
        draws: Latent draws K of each answer.
    """

    def __init__(self, draws: int) -> None:
        self._iou_of_draws = torch.zeros(draws, dtype=torch.float64)
        self._calibration = CalibrationError()
        self._entropy: list[Tensor] = []
        self._risk: list[Tensor] = []

    def update(self, drawn: Float[Tensor, "k b t 1 h w"], batch: AVBatch) -> None:
        """Add the answers to a batch with masks, under K latent draws."""
        frames = drawn.flatten(1, 2)  # (K, N, 1, H, W)
        mean = mean_logits(drawn).flatten(0, 1)
        self._calibration.update(mean, batch.flat_masks)
        self._entropy.append(predictive_entropy(frames).flatten(1).mean(dim=1))
        self._risk.append(1 - avsbench_iou(mean, batch.flat_masks))
        if len(frames) > 1:
            self._iou_of_draws += torch.stack([avsbench_iou(draw, batch.flat_masks).double().sum() for draw in frames])

    def compute(self) -> UncertaintyScores:
        """Scores of all frames seen."""
        entropy, risk = torch.cat(self._entropy), torch.cat(self._risk)
        spread = float((self._iou_of_draws / len(risk)).std()) if len(self._iou_of_draws) > 1 else None
        return UncertaintyScores(
            calibration_error=float(self._calibration.compute()),
            entropy=float(entropy.mean()),
            risk_coverage_area=float(risk_coverage(entropy, risk)[1].mean()),
            miou_spread=spread,
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
