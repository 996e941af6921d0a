"""What differs between scoring masks and scoring classes: decoding, metrics, floors, and files of predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from ecmvae.data.clips import ClipSource
from ecmvae.errors import UserError
from ecmvae.evaluation.floors import floor_logits
from ecmvae.evaluation.predictions import ClassFolder, MaskFolder, PredictionFolder
from ecmvae.evaluation.rows import ClassRows, MaskRows
from ecmvae.metrics import MetricLike
from ecmvae.models.base import Segmenter
from ecmvae.models.decoder import foreground_logits
from ecmvae.types import AVBatch

Prediction = dict[str, Tensor]
"""A decoded answer to a batch on the CPU, by the names that metrics ask for: logits and draws, or classes."""


class Task(ABC):
    """How predictions are made from logits, and what they are scored with.

    Attributes:
        kind: "masks" or "classes".
        metrics: Names of the metrics that are computed unless others are asked for; the first is the headline.
        needs: The field of `AVClip` with the ground truth.
        num_classes: Channels of the logits.
    """

    kind: ClassVar[Literal["masks", "classes"]]
    metrics: ClassVar[tuple[str, ...]]
    needs: ClassVar[str]
    num_classes: int = 1

    def check(self, model: Segmenter) -> None:
        """Raise a UserError if a model cannot do this task; any model can unless a task says otherwise."""
        return

    @abstractmethod
    def decode(self, draws: Iterable[Tensor]) -> Prediction:
        """The prediction from logits (B, T, C, H, W) of each latent draw."""

    @abstractmethod
    def floors(self, batch: AVBatch, index: Int[Tensor, " b"], seed: int) -> dict[str, Prediction]:
        """Trivial predictions for a batch, by name."""

    @abstractmethod
    def rows(self) -> MetricLike:
        """What gathers the scores of single clips."""

    @abstractmethod
    def folder(self, path: str | Path) -> PredictionFolder:
        """The reader and writer of a folder of predictions."""


class MaskTask(Task):
    """Masks: the probability of "anything but background", averaged over the latent draws."""

    kind = "masks"
    metrics = ("per_clip", "avsbench", "dataset", "miou_nonempty", "right_of_two", "uncertainty")
    needs = "masks"

    def decode(self, draws: Iterable[Tensor]) -> Prediction:
        """Logits of the mean probability, and those of each draw."""
        drawn = torch.stack([foreground_logits(logits).cpu() for logits in draws])
        return {"logits": mean_logits(drawn), "draws": drawn}

    def floors(self, batch: AVBatch, index: Int[Tensor, " b"], seed: int) -> dict[str, Prediction]:
        """All background, all foreground and, where the objects are known, all objects and a random one."""
        return {name: {"logits": logits} for name, logits in floor_logits(batch, index, seed).items()}

    def rows(self) -> MetricLike:
        """Clips and categories."""
        return MaskRows()

    def folder(self, path: str | Path) -> PredictionFolder:
        """Grey PNG files in AVSBench's naming."""
        return MaskFolder(path)


class ClassTask(Task):
    """Classes: the class of the largest mean probability over the latent draws.

    Args:
        class_names: Names of the classes by number; 0 is the background.
    """

    kind = "classes"
    metrics = ("frames", "released")
    needs = "labels"

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self.num_classes = len(self.class_names)

    def check(self, model: Segmenter) -> None:
        """Raise a UserError if a model has another number of classes."""
        if model.num_classes != self.num_classes:
            raise UserError(
                f"these clips have {self.num_classes} classes and this model has "
                f"model.num_classes={model.num_classes}: train one with configs/avss_pvt.yaml"
            )

    def decode(self, draws: Iterable[Tensor]) -> Prediction:
        """Class numbers (B, T, H, W).

        Raises:
            UserError: When a logit is NaN.
        """
        iterator = iter(draws)
        total, count = next(iterator), 1
        for logits in iterator:  # one draw in memory at a time: 71 channels are large
            total = (total.softmax(dim=2) if count == 1 else total) + logits.softmax(dim=2)
            count += 1
        if total.isnan().any():
            raise UserError("the predicted logits hold NaN: the model or its checkpoint is broken")
        return {"classes": total.argmax(dim=2).cpu()}

    def floors(self, batch: AVBatch, index: Int[Tensor, " b"], seed: int) -> dict[str, Prediction]:
        """Background everywhere."""
        assert batch.labels is not None
        return {"background": {"classes": torch.zeros_like(batch.labels)}}

    def rows(self) -> MetricLike:
        """Clips, subsets and classes."""
        return ClassRows(self.class_names)

    def folder(self, path: str | Path) -> PredictionFolder:
        """Coloured PNG files in the naming of AVSS' released script."""
        return ClassFolder(path)


def choose_task(clips: ClipSource, model: Segmenter | None = None) -> Task:
    """Classes where the clips have labels and the model, if there is one, has classes; else masks."""
    if len(clips) == 0 or clips[0].labels is None or (model is not None and model.num_classes == 1):
        return MaskTask()
    names: Any = getattr(clips, "class_names", ()) or getattr(model, "class_names", ())
    if not names and model is not None:
        names = [f"class {k}" for k in range(model.num_classes)]
    if not names:
        raise UserError("these clips have labels but no class_names: say task=ClassTask(names)")
    return ClassTask(names)


def mean_logits(draws: Tensor) -> Tensor:
    """Logits (B, T, 1, H, W) of the mean probability over K latent draws (K, B, T, 1, H, W)."""
    return draws[0] if len(draws) == 1 else torch.logit(torch.sigmoid(draws).mean(dim=0))
