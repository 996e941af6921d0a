"""What differs between scoring masks and scoring classes: decoding, metrics, floors, and files of predictions.

Floors are trivial answers to compare a model with: what can be scored without hearing anything. A model that marks
whatever stands out gets far in mIoU, so these numbers belong next to every score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ecmvae.data.clips import ClipSource
from ecmvae.data.sets.records import DataSetRecord
from ecmvae.errors import UserError
from ecmvae.evaluation.predictions import ClassFolder, MaskFolder
from ecmvae.evaluation.rows import BoxRows, ClassRows, MaskRows
from ecmvae.models.base import Segmenter
from ecmvae.models.decoder import foreground_logits
from ecmvae.types import AVBatch

Prediction = dict[str, Tensor]
"""A decoded answer to a batch on the CPU, by the names that metrics ask for: logits and draws, or classes."""


class MaskTask:
    """Masks: the probability of "anything but background", averaged over the latent draws.

    Attributes:
        kind: "masks" or "classes".
        metrics: Names of the metrics that are computed unless others are asked for; the first is the headline.
        needs: The field of `AVClip` with the ground truth.
        num_classes: Channels of the logits that are scored.

    Args:
        more: Names of further metrics, such as those of a data set's own papers.
    """

    kind: Literal["masks", "boxes"] = "masks"
    usual: tuple[str, ...] = (
        *(
            "per_clip",
            "avsbench",
            "dataset",
            "miou_nonempty",
            "right_of_two",
            "by_picture",
            "uncertainty",
        ),
    )
    needs = "masks"
    num_classes = 1

    def __init__(self, more: Sequence[str] = ()) -> None:
        self.metrics = (*self.usual, *more)

    def check(self, model: Segmenter) -> None:
        """Any model can do this."""

    def decode(
        self, draws: Iterable[Float[Tensor, "b t c h w"]], valid: Bool[Tensor, "b t"] | None = None
    ) -> Prediction:
        """Logits of the mean probability, and those of each latent draw; `valid` has no effect on masks."""
        drawn = torch.stack([foreground_logits(logits).cpu() for logits in draws])
        return {"logits": mean_logits(drawn), "draws": drawn}

    def floors(self, batch: AVBatch, index: Int[Tensor, " b"], seed: int) -> dict[str, Prediction]:
        """All background, all foreground and, where the objects are known, all objects and a random one."""
        return {
            name: {"logits": logits} for name, logits in floor_logits(batch, index, seed).items()
        }

    def rows(self) -> MaskRows | BoxRows:
        """What gathers the scores of single clips and of categories."""
        return MaskRows()

    def folder(self, path: str | Path) -> MaskFolder:
        """Predictions as grey PNG files in AVSBench's naming."""
        return MaskFolder(path)


class BoxTask(MaskTask):
    """Maps against boxes: localisation scores only, since no mask can be right by a box."""

    kind = "boxes"
    usual = ("localisation",)

    def floors(self, batch: AVBatch, index: Int[Tensor, " b"], seed: int) -> dict[str, Prediction]:
        """A spot in the middle of the picture, the habit of photographers."""
        assert batch.masks is not None
        height, width = batch.masks.shape[-2:]
        y, x = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        spot = -(y[:, None] ** 2 + x**2)
        return {"middle": {"logits": spot.expand_as(batch.masks).contiguous()}}

    def rows(self) -> BoxRows:
        """What gathers the scores of single clips and of categories."""
        return BoxRows()


class ClassTask:
    """Classes: the class of the largest mean probability over the latent draws.

    Args:
        class_names: Names of the classes by number; 0 is the background.
        more: Names of further metrics.
    """

    kind: Literal["classes"] = "classes"
    needs = "labels"

    def __init__(self, class_names: Sequence[str], more: Sequence[str] = ()) -> None:
        self.metrics = ("frames", "released", *more)
        self.class_names = tuple(class_names)
        self.num_classes = len(self.class_names)

    def check(self, model: Segmenter) -> None:
        """Raise a UserError if a model has another number of classes."""
        if model.num_classes != self.num_classes:
            raise UserError(
                f"these clips have {self.num_classes} classes and this model has "
                f"model.num_classes={model.num_classes}: train one with configs/avss_pvt.yaml"
            )

    def decode(
        self, draws: Iterable[Float[Tensor, "b t c h w"]], valid: Bool[Tensor, "b t"] | None = None
    ) -> Prediction:
        """Class numbers (B, T, H, W); background in padded frames (`valid` False), as AVSBench's AVSS model answers.

        Raises:
            UserError: If a logit is NaN.
        """
        iterator = iter(draws)
        total, count = next(iterator), 1
        for logits in iterator:  # one draw in memory at a time: 71 channels are large
            total = (total.softmax(dim=2) if count == 1 else total) + logits.softmax(dim=2)
            count += 1
        if total.isnan().any():
            raise UserError("the predicted logits hold NaN: the model or its checkpoint is broken")
        classes = total.argmax(dim=2).cpu()
        if valid is not None:
            classes[~valid] = 0
        return {"classes": classes}

    def floors(self, batch: AVBatch, index: Int[Tensor, " b"], seed: int) -> dict[str, Prediction]:
        """Background everywhere."""
        assert batch.labels is not None
        return {"background": {"classes": torch.zeros_like(batch.labels)}}

    def rows(self) -> ClassRows:
        """What gathers the scores of single clips, subsets and classes."""
        return ClassRows(self.class_names)

    def folder(self, path: str | Path) -> ClassFolder:
        """Predictions as coloured PNG files in the naming of AVSS' released script."""
        return ClassFolder(path)


Task = MaskTask | ClassTask
"""How predictions are made from logits, and what they are scored with."""


def choose_task(clips: ClipSource, model: Segmenter | None = None) -> Task:
    """Classes where the clips have labels and the model, if there is one, has classes; else masks, or boxes.

    What a data set's record names as its metrics is computed, too.
    """
    record: DataSetRecord | None = getattr(clips, "record", None)
    more = () if record is None else record.metrics
    if record is not None and record.truth == "boxes":
        return BoxTask(more)
    if len(clips) == 0 or clips[0].labels is None or (model is not None and model.num_classes == 1):
        return MaskTask(more)
    names: Any = getattr(clips, "class_names", ()) or getattr(model, "class_names", ())
    if not names and model is not None:
        names = [f"class {k}" for k in range(model.num_classes)]
    if not names:
        raise UserError("these clips have labels but no class_names: say task=ClassTask(names)")
    return ClassTask(names, more)


def mean_logits(draws: Float[Tensor, "k b t 1 h w"]) -> Float[Tensor, "b t 1 h w"]:
    """Logits of the mean probability over K latent draws."""
    return draws[0] if len(draws) == 1 else torch.logit(torch.sigmoid(draws).mean(dim=0))


def floor_logits(
    batch: AVBatch, index: Int[Tensor, " b"], seed: int = 0
) -> dict[str, Float[Tensor, "b t 1 h w"]]:
    """The answers of models that do not listen, as logits of plus or minus infinity.

    Args:
        batch: Clips with masks.
        index: (B,) each clip's place in the data set; decides which object is drawn, whatever the batching.
        seed: Seed of the drawn objects.

    Returns:
        By name: `all_background`; `all_foreground`; where the objects are known also `all_objects` (perfect saliency:
        everything that could sound) and `random_object` (one of the clip's visible objects, the same in all frames).
    """
    assert batch.masks is not None
    nothing = torch.zeros_like(batch.masks, dtype=torch.bool)
    marked = {"all_background": nothing, "all_foreground": ~nothing}
    if batch.objects is not None:
        objects = batch.objects.unsqueeze(2)
        drawn = torch.tensor(
            [_draw(clip, int(i), seed) for clip, i in zip(batch.objects, index, strict=True)]
        )
        marked["all_objects"] = objects > 0
        marked["random_object"] = objects == drawn.to(objects.device).reshape(-1, 1, 1, 1, 1)
    infinity = torch.tensor(torch.inf, device=nothing.device)
    return {name: torch.where(where, infinity, -infinity) for name, where in marked.items()}


def _draw(objects: Tensor, index: int, seed: int) -> int:
    """Number of one visible object of a clip; -1, which marks nothing, where there is none."""
    visible = [number for number in sorted(set(objects.flatten().tolist())) if number > 0]
    if not visible:
        return -1
    chance = torch.Generator().manual_seed(seed * 1_000_003 + index)
    return int(visible[int(torch.randint(len(visible), (), generator=chance))])
