"""Clips prepared as VGGish and an ImageNet backbone take them."""

from __future__ import annotations

import torch
from torch import Tensor

from ecmvae.audio.vggish import VGGishFrontEnd
from ecmvae.data.clips import ClipSource
from ecmvae.data.preprocess import ClipPreprocessor, PreparedClips
from ecmvae.models.base import Segmenter
from ecmvae.types import AVBatch, AVClip
from ecmvae.visual.normalisation import IMAGENET

VGGISH = ClipPreprocessor(VGGishFrontEnd(), IMAGENET)


def prepared(clip: AVClip) -> AVClip:
    """The clip with float frames and log-mel patches."""
    return VGGISH(clip)


def prepared_clips(clips: ClipSource) -> PreparedClips:
    """All clips of a data set, likewise."""
    return PreparedClips(clips, VGGISH)


def log_mel(clip: AVClip) -> Tensor:
    """Log-mel patches (T, 1, 96, 64) of a clip."""
    audio = VGGISH(clip).audio
    assert audio is not None
    return audio


def log_mel_of(waveform: Tensor, frames: int = 5, hop_seconds: float = 1.0) -> Tensor:
    """Log-mel patches of a waveform at 16 kHz."""
    return VGGISH(
        AVClip(
            name="", frames=torch.zeros(frames, 3, 8, 8), waveform=waveform, hop_seconds=hop_seconds
        )
    ).audio  # type: ignore[return-value]


@torch.no_grad()
def logits_without_padding(model: Segmenter, batch: AVBatch) -> Tensor:
    """A model's logits at the latents' means, when it hears and sees zeros in the padded seconds."""
    audio, maps = model.encode_audio(batch.audio), model.extract_features(batch.frames)
    if batch.valid is not None:
        for each in (audio, *maps):
            each[~batch.valid] = 0
    return model(batch.frames, audio, latents="mean", features=maps).logits
