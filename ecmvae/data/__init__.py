"""Clips and where they come from: video and audio files, AVSBench folders, synthetic and composed data.

A data set from outside the package is one callable ``load(data: DataConfig, split: str, *, seed: int) -> ClipSource``,
named by import path (``data.name: my_package.data:load``); or pass the clips themselves to `train` and `evaluate`.
"""

from __future__ import annotations

from typing import Any

from ecmvae.data.sets.records import RECORDS
from ecmvae.registry import Registry

DATASETS: Registry[Any] = Registry(
    "data set",
    {
        **{name: record.load for name, record in RECORDS.items()},
        "synthetic": "ecmvae.data.loading:load_synthetic",
        "packed": "ecmvae.data.packed:load_packed",
    },
)
"""Data sets by name, for training, evaluation, the demo and check-data alike."""
