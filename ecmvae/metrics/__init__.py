"""Scores of predicted masks: plain functions (`functional`) and torchmetrics classes for the three named protocols."""

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
