"""Scores of predicted masks and classes: functions (`functional`), torchmetrics classes, and the table of their names.

`METRICS` is read by training (validation), evaluation, the demo and the reports. A metric is one class:

* ``name``, its key in ``report.json``, and ``label``, its heading in tables (by default the class's name, for both);
* ``update(...)``, whose parameters say what it needs: ``logits`` (B, T, 1, H, W), ``classes`` (B, T, H, W), ``draws``
  (K, B, T, 1, H, W), ``sums`` (a `ClipSums`), ``index`` (B,) the clips' places in the data set, ``batch``, or any field
  of `AVBatch`, such as ``masks`` or ``objects``. Batches that lack a parameter without a default are left out;
* ``compute()``, which returns a number in any unit, or a dictionary or named tuple of numbers, and ``reset()``.

Give `evaluate` its name, its import path (``my_package.scores:Sharpness``) or the object.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ecmvae.registry import Registry

if TYPE_CHECKING:
    from ecmvae.metrics.protocols import (
        AVSBenchProtocol,
        DatasetProtocol,
        DatasetScores,
        NonEmptyIoU,
        PerClipProtocol,
        Scores,
    )
    from ecmvae.metrics.right_of_two import RightOfTwo

__all__ = [
    "AVSBenchProtocol",
    "DatasetProtocol",
    "DatasetScores",
    "NonEmptyIoU",
    "PerClipProtocol",
    "RightOfTwo",
    "Scores",
]


@runtime_checkable
class MetricLike(Protocol):
    """What a metric offers; torchmetrics classes have all of it."""

    @property
    def update(self) -> Callable[..., None]:
        """Add clips."""

    def compute(self) -> Any:
        """The value of all clips seen."""

    def reset(self) -> None:
        """Forget all clips."""


METRICS: Registry[Any] = Registry(
    "metric",
    {
        "per_clip": "ecmvae.metrics.protocols:PerClipProtocol",
        "avsbench": "ecmvae.metrics.protocols:AVSBenchProtocol",
        "dataset": "ecmvae.metrics.protocols:DatasetProtocol",
        "miou_nonempty": "ecmvae.metrics.protocols:NonEmptyIoU",
        "right_of_two": "ecmvae.metrics.right_of_two:RightOfTwo",
        "by_picture": "ecmvae.metrics.by_picture:ByPicture",
        "uncertainty": "ecmvae.metrics.calibration:Uncertainty",
        "avs_jf": "ecmvae.metrics.jf:AvsJF",
        "davis": "ecmvae.metrics.jf:DavisJF",
        "omniavs": "ecmvae.metrics.jf:OmniAvsJF",
        "null_set": "ecmvae.metrics.null_set:NullSet",
        "localisation": "ecmvae.metrics.localisation:Localisation",
        "interactive": "ecmvae.metrics.localisation:InteractiveIoU",
        "extended": "ecmvae.metrics.extended:Extended",
        "temporal": "ecmvae.metrics.temporal:Temporal",
        "fdr_masks": "ecmvae.metrics.detection:MaskDetection",
        "fdr": "ecmvae.metrics.detection:Detection",
        "frames": "ecmvae.metrics.semantic:SemanticProtocol",
        "released": "ecmvae.metrics.semantic:ReleasedSemanticProtocol",
    },
    needs=("update", "compute", "reset"),
)
"""Metrics by name: the last three score classes, the others masks (see docs/metrics.md)."""

VALIDATION = {"masks": ("per_clip", "miou_nonempty", "right_of_two"), "classes": ("frames",)}
"""What training computes after an epoch."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "right_of_two" if name == "RightOfTwo" else "protocols"
    return getattr(import_module(f"{__name__}.{home}"), name)
