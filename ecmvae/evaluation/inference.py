"""Running a model while it is scored: in eval mode, under seeded latent draws, with its own sound or another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ecmvae.audio.conditions import derangement
from ecmvae.data.clips import ClipSource
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.models.base import Segmenter
from ecmvae.models.output import ExtractedMaps
from ecmvae.types import AVBatch

Sound = Literal["real", "silent", "shuffled"]
"""The clip's own sound, digital silence through the same front end, or the sound of another clip."""


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


def maps_of(model: Segmenter, batch: AVBatch) -> tuple[Tensor, ...]:
    """The backbone's four maps (B, T, C_i, H/s, W/s) of a batch; zero in padded frames."""
    maps = model.extract_features(batch.frames)
    return (
        maps if batch.valid is None else ExtractedMaps(batch.without_padding(each) for each in maps)
    )


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


class AudioConditions:
    """The audio embeddings that a model is given for each clip and kind of sound.

    Args:
        model: The model, in eval mode.
        clips: The whole data set; its sounds are embedded at once when they are to be shuffled.
        shuffled: Whether sounds will be shuffled.
        seed: Seed of the shuffling.
        progress: Whether to show a progress bar.

    Attributes:
        others: For each clip, the clip whose sound it gets as "shuffled"; empty without shuffling.
    """

    def __init__(
        self,
        model: Segmenter,
        clips: ClipSource,
        *,
        shuffled: bool,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self._model, self._device, prepare = model, device_of(model), ClipPreprocessor.of(model)
        self.others = derangement(len(clips), seed) if shuffled else ()
        self._embeddings: list[Tensor] = []
        if shuffled:
            console = Console(stderr=True)
            indices = track(
                range(len(clips)),
                "embedding",
                console=console,
                disable=not progress,
                transient=True,
            )
            self._embeddings = [self._embed(prepare.audio_of(clips, index)) for index in indices]

    def embeddings(
        self, sound: Sound, index: Int[Tensor, " b"], batch: AVBatch
    ) -> Float[Tensor, "b t a"]:
        """Embeddings (B, T, A) of a batch whose clips have these places in the data set; zero in padded seconds."""
        if sound == "real":
            audio = self._model.encode_audio(batch.audio)
        elif sound == "silent":
            audio = silence(self._model, *batch.frames.shape[:2])
        else:
            audio = torch.stack([self._embeddings[self.others[i]] for i in index.tolist()]).to(
                self._device
            )
        return batch.without_padding(audio)

    def _embed(self, audio: Tensor | None) -> Tensor:
        """Embeddings (T, A) of one clip's features, on the CPU."""
        features = None if audio is None else audio[None].to(self._device)
        return self._model.encode_audio(features).squeeze(0).cpu()


def silence(model: Segmenter, clips: int, frames: int) -> Float[Tensor, "b t a"]:
    """The embeddings (B, T, A) of digital silence."""
    features = ClipPreprocessor.of(model).silence(1)
    return model.encode_audio(features[None].to(device_of(model))).expand(clips, frames, -1)
