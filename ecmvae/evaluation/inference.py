"""Running a model while it is scored: in eval mode, under seeded latent draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.models.base import Segmenter
from ecmvae.types import AVBatch


def latent_draws(
    model: Segmenter,
    batch: AVBatch,
    audio: Float[Tensor, "b t a"],
    *,
    features: Sequence[Tensor] | None = None,
    latents: Literal["mean", "sample"] = "mean",
    samples: int = 1,
    seed: int = 0,
) -> Iterator[Tensor]:
    """Logits (B, T, C, H, W) in float32 under each of K latent draws, one draw in memory at a time.

    The same seed draws the same noise whatever is heard; other random numbers are left as they were.
    """
    device = batch.frames.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(samples):
            yield model(batch.frames, audio, latents=latents, features=features).logits.float()


def device_of(model: Segmenter) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


@contextmanager
def eval_mode(*models: Segmenter | None) -> Iterator[None]:
    """Models in eval mode and without gradients inside the block, and as they were after it; None is passed over."""
    present = [model for model in models if model is not None]
    before = [model.training for model in present]
    for model in present:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model, training in zip(present, before, strict=True):
            model.train(training)
