"""The segmentation models."""

from __future__ import annotations

from ecmvae.models.base import MODELS, Segmenter, build_model
from ecmvae.models.baselines import TPAVIBaseline
from ecmvae.models.ecmvae import ECMVAE
from ecmvae.models.output import BranchOutput, SegmentationOutput

ECMVAEOutput = SegmentationOutput
"""The former name of `SegmentationOutput`, kept for one release."""

__all__ = [
    "ECMVAE",
    "MODELS",
    "BranchOutput",
    "ECMVAEOutput",
    "SegmentationOutput",
    "Segmenter",
    "TPAVIBaseline",
    "build_model",
]
