"""Metrics that are updated together, each with the part of a batch that its `update` asks for."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.metrics import METRICS, MetricLike
from ecmvae.metrics.clip_sums import ClipSums
from ecmvae.types import AVBatch

MetricChoice = Any
"""A registered name, an import path, a metric class or a `MetricLike`; the registry says what others lack."""

_PREDICTED = ("logits", "classes", "draws", "sums", "batch", "index")
_SHORT = {
    "miou": "mIoU",
    "fscore": "F",
    "two_class_miou": "two-class mIoU",
    "miou_without_background": "mIoU no bg",
    "fscore_without_background": "F no bg",
    "jf": "mean",
    "j": "J",
    "f": "F",
    "ciou": "cIoU",
    "auc": "AUC",
    "iiou": "IIoU",
    "iauc": "IAUC",
    "ap": "AP",
    "fdr": "FDR",
    "f1": "F1",
    "f03": "F0.3",
    "max_f1": "max-F1",
    "loc_acc": "LocAcc",
}


class MetricSet(nn.Module):
    """Several metrics over the same predictions; a module, so that their states move with the model.

    Args:
        choices: The metrics; objects are copied, so that one object may serve several sets.
        graded: Whether the predictions are probabilities. Metrics with a true ``graded`` attribute are computed of
            those only.
        **options: Arguments for the constructors that have a parameter of that name, such as ``num_classes``.

    Raises:
        UserError: If a metric is unknown, lacks a method, asks for something that does not exist, or shares its name
            with another one.
    """

    def __init__(
        self, choices: Sequence[MetricChoice], *, graded: bool = True, **options: Any
    ) -> None:
        super().__init__()
        self._metrics: dict[str, MetricLike] = {}
        self._wanted: dict[str, dict[str, bool]] = {}
        known = {*_PREDICTED, *(field.name for field in fields(AVBatch))}
        for metric in (_create(choice, options) for choice in choices):
            name = metric_name(metric)
            if name in self._metrics:
                raise UserError(f"two metrics are named {name}: give one of them another name")
            wanted = _parameters(metric)
            if unknown := [each for each, needed in wanted.items() if needed and each not in known]:
                raise UserError(
                    f"metric {name} asks for {unknown[0]}: choose from {', '.join(sorted(known))}"
                )
            self._metrics[name], self._wanted[name] = metric, wanted
        self._silent = {
            name
            for name, metric in self._metrics.items()
            if not graded and getattr(metric, "graded", False)
        }
        self._seen: set[str] = set()
        self._modules_of_metrics = nn.ModuleList(
            m for m in self._metrics.values() if isinstance(m, nn.Module)
        )

    def __getitem__(self, name: str) -> MetricLike:
        return self._metrics[name]

    @property
    def labels(self) -> dict[str, str]:
        """Heading of each metric in tables, by name; "" leaves it out."""
        return {name: getattr(metric, "label", name) for name, metric in self._metrics.items()}

    def update(self, batch: AVBatch, index: Int[Tensor, " b"], **predicted: Tensor) -> None:
        """Add the predictions for a batch.

        Args:
            batch: The clips, with ground truth.
            index: (B,) each clip's place in the data set.
            **predicted: ``logits`` (B, T, 1, H, W), ``draws`` (K, B, T, 1, H, W) or ``classes`` (B, T, H, W).
        """
        if batch.ignored is not None:
            predicted = _without(batch.ignored, predicted)
        given: dict[str, Any] = {field.name: getattr(batch, field.name) for field in fields(batch)}
        given |= {"batch": batch, "index": index, **predicted}
        if (
            "logits" in predicted
            and batch.masks is not None
            and any("sums" in each for each in self._wanted.values())
        ):
            given["sums"] = ClipSums.measure(predicted["logits"], batch.masks, batch.valid)
        for name, wanted in self._wanted.items():
            arguments = {key: given[key] for key in wanted if given.get(key) is not None}
            if name not in self._silent and all(
                key in arguments for key, needed in wanted.items() if needed
            ):
                self._metrics[name].update(**arguments)
                self._seen.add(name)

    def compute(self, seen_anywhere: Callable[[bool], bool] = bool) -> dict[str, Any]:
        """Values by name; None for a metric that no batch had the ground truth for, and in place of NaN.

        Args:
            seen_anywhere: Says whether this is True on any of the processes that validate together.
        """
        values = {}
        for name, metric in self._metrics.items():
            value = metric.compute() if seen_anywhere(name in self._seen) else None
            values[name] = None if isinstance(value, float) and math.isnan(value) else value
        return values

    def reset(self) -> None:
        """Forget all predictions."""
        self._seen.clear()
        for metric in self._metrics.values():
            metric.reset()


def metric_name(metric: MetricChoice) -> str:
    """The key of a metric in a report."""
    if isinstance(metric, str):
        return metric if metric in METRICS else metric_name(METRICS.get(metric))
    kind = metric if isinstance(metric, type) else type(metric)
    return str(getattr(metric, "name", kind.__name__))


def numbers(
    value: Any, name: str, *, label: str | None = None
) -> Iterator[tuple[str, float | None]]:
    """The single numbers of a metric's value with a name for each.

    Args:
        value: What `compute` returned.
        name: Name of a value that is one number; parts of several go by their own key.
        label: Make headings for a table instead: the metric's label goes before the first number.
    """
    parts = value._asdict() if hasattr(value, "_asdict") else value
    if not isinstance(parts, Mapping):
        yield (name if label is None else label), _number(parts)
        return
    for position, (key, part) in enumerate(parts.items()):
        heading = _SHORT.get(key, key.replace("_", " "))
        yield (
            key if label is None else f"{label} {heading}" if position == 0 else heading,
            _number(part),
        )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _create(choice: MetricChoice, options: Mapping[str, Any]) -> MetricLike:
    found = METRICS.get(choice)
    if not isinstance(found, type):
        metric: MetricLike = copy.deepcopy(found)
        return metric
    accepted = inspect.signature(found).parameters
    created: MetricLike = found(
        **{name: value for name, value in options.items() if name in accepted}
    )
    return created


def _without(ignored: Tensor, predicted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The predictions with background at unlabelled pixels: truth is background there, too, so nothing is counted.

    Two things remain: the lowest threshold of F, 0, which every pixel passes, and the background's own IoU.
    """
    changed = dict(predicted)
    for name in ("logits", "draws"):
        if name in changed:
            changed[name] = changed[name].masked_fill(ignored.unsqueeze(2), -math.inf)
    if "classes" in changed:
        changed["classes"] = _background(changed["classes"], ignored)
    return changed


def _background(classes: Tensor, ignored: Tensor) -> Tensor:
    """Class numbers (B, T, H, W) or logits (B, T, C, H, W) with class 0 in the ignored pixels."""
    if not classes.is_floating_point():
        return classes.masked_fill(ignored, 0)
    only_background = torch.full_like(classes[:, :, :1], -math.inf).expand_as(classes).clone()
    only_background[:, :, 0] = 0.0
    return torch.where(ignored.unsqueeze(2), only_background, classes)


def _parameters(metric: MetricLike) -> dict[str, bool]:
    """Parameters of a metric's `update`, and whether they are required."""
    parameters = inspect.signature(metric.update).parameters.values()
    return {
        p.name: p.default is p.empty
        for p in parameters
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
