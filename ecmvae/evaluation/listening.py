"""What a model is given to hear while it is scored, and its answers under latent draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ecmvae.audio.io import SAMPLE_RATE, log_mel_patches
from ecmvae.data.clips import ClipSource, log_mel_of
from ecmvae.errors import UserError
from ecmvae.models.decoder import foreground_logits
from ecmvae.types import AVBatch

Sound = Literal["real", "silent", "shuffled"]
"""The clip's own sound, digital silence through the same front end, or the sound of another clip."""


class Voices:
    """The audio embeddings that a model is given for each clip and kind of sound.

    Args:
        model: A network with ECMVAE's `encode_audio`, in eval mode.
        clips: The whole data set; its sounds are embedded at once when they are to be shuffled.
        shuffled: Whether sounds will be shuffled.
        seed: Seed of the shuffling.
        progress: Whether to show a progress bar.

    Attributes:
        others: For each clip, the clip whose sound it gets as "shuffled"; empty without shuffling.
    """

    def __init__(self, model: Any, clips: ClipSource, *, shuffled: bool, seed: int = 0, progress: bool = False) -> None:
        self._model, self._device = model, device_of(model)
        self.others = derangement(len(clips), seed) if shuffled else []
        self._sounds: list[Tensor] = []
        if shuffled:
            console = Console(stderr=True)
            indices = track(range(len(clips)), "listening", console=console, disable=not progress, transient=True)
            self._sounds = [self._embed(log_mel_of(clips, index).unsqueeze(0)).squeeze(0).cpu() for index in indices]

    def of(self, sound: Sound, index: Int[Tensor, " b"], batch: AVBatch) -> Float[Tensor, "b t a"]:
        """Embeddings (B, T, 128) of a batch whose clips have these places in the data set."""
        if sound == "real":
            return self._embed(batch.log_mel)
        if sound == "silent":
            return silence(self._model, *batch.log_mel.shape[:2])
        return torch.stack([self._sounds[self.others[i]] for i in index.tolist()]).to(self._device)

    def _embed(self, log_mel: Tensor) -> Tensor:
        embedding: Tensor = self._model.encode_audio(log_mel.to(self._device))
        return embedding


def silence(model: Any, clips: int, frames: int) -> Float[Tensor, "b t a"]:
    """What a model hears in digital silence, (B, T, 128)."""
    patch = log_mel_patches(torch.zeros(SAMPLE_RATE), num_patches=1)
    embedding: Tensor = model.encode_audio(patch[None].to(device_of(model)))
    return embedding.expand(clips, frames, -1)


def derangement(count: int, seed: int) -> list[int]:
    """A random order of 0 ... count-1 in which nothing keeps its place.

    Raises:
        UserError: When there are fewer than two things.
    """
    if count < 2:
        raise UserError("shuffled sound needs at least two clips: there is no other clip to hear")
    chance = torch.Generator().manual_seed(seed)
    while True:  # one random order in e has this property
        order = torch.randperm(count, generator=chance)
        if not bool((order == torch.arange(count)).any()):
            return [int(i) for i in order]


def answers(
    model: Any,
    batch: AVBatch,
    audio: Float[Tensor, "b t a"],
    *,
    features: Sequence[Tensor] | None = None,
    latents: Literal["mean", "sample"] = "mean",
    samples: int = 1,
    seed: int = 0,
) -> Float[Tensor, "k b t 1 h w"]:
    """Logits of K latent draws, on the CPU in float32; the same seed draws the same noise whatever is heard.

    Of a model with several classes they are those of "anything but background".
    """
    with _noise_of(seed, batch.frames.device):
        drawn = [
            foreground_logits(model(batch.frames, audio, latents=latents, features=features).logits)
            for _ in range(samples)
        ]
    return torch.stack(drawn).float().cpu()


def class_answers(
    model: Any,
    batch: AVBatch,
    audio: Float[Tensor, "b t a"],
    *,
    features: Sequence[Tensor] | None = None,
    latents: Literal["mean", "sample"] = "mean",
    samples: int = 1,
    seed: int = 0,
) -> Int[Tensor, "b t h w"]:
    """The class of largest mean probability over K latent draws, on the CPU.

    Raises:
        UserError: When a logit is NaN.
    """
    with _noise_of(seed, batch.frames.device):
        mean = torch.zeros(())
        for _ in range(samples):  # one draw in memory at a time: 71 channels are large
            logits = model(batch.frames, audio, latents=latents, features=features).logits.float()
            mean = logits if samples == 1 else mean.to(logits) + logits.softmax(dim=2) / samples
    if mean.isnan().any():
        raise UserError("the predicted logits hold NaN: the model or its checkpoint is broken")
    return mean.argmax(dim=2).cpu()


@contextmanager
def _noise_of(seed: int, device: torch.device) -> Iterator[None]:
    """Inside the block the generators start from a seed; after it they are as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def mean_logits(samples: Float[Tensor, "k b t 1 h w"]) -> Float[Tensor, "b t 1 h w"]:
    """Logits of the mean probability over K latent draws."""
    return samples[0] if len(samples) == 1 else torch.logit(torch.sigmoid(samples).mean(dim=0))


def device_of(model: Any) -> torch.device:
    """Where a model's parameters are."""
    device: torch.device = next(model.parameters()).device
    return device


@contextmanager
def eval_mode(*models: Any) -> Iterator[None]:
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
