"""From a clip as it was read to what a model takes: normalised frames, and the features of the model's front end.

Training, evaluation and prediction prepare their input here, so that they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.encoder import AudioFrontEnd, sound_windows, window_samples
from ecmvae.data.clips import ClipSource, sound_only
from ecmvae.errors import UserError
from ecmvae.types import AVClip
from ecmvae.visual.normalisation import Normalisation


@runtime_checkable
class ModelInputs(Protocol):
    """What a model says about its input; every `ecmvae.models.Segmenter` does."""

    @property
    def front_end(self) -> AudioFrontEnd | None:
        """Of its audio encoder; None without one."""

    @property
    def normalisation(self) -> Normalisation:
        """Of its visual backbone."""


@dataclass(frozen=True)
class ClipPreprocessor:
    """Prepares clips for one model; it travels to data workers.

    Attributes:
        front_end: Makes the audio features; None leaves the sound alone.
        normalisation: Of the frames.
    """

    front_end: AudioFrontEnd | None
    normalisation: Normalisation

    @classmethod
    def of(cls, model: ModelInputs) -> ClipPreprocessor:
        """The one for a model."""
        return cls(model.front_end, model.normalisation)

    def __call__(self, clip: AVClip) -> AVClip:
        """The clip with float32 frames, zero where it is padded, and with audio features.

        Frames that are float32 already, and features of this front end, are kept.

        Raises:
            UserError: If the clip has no sound that the front end can read.
        """
        return self.with_audio(replace(clip, frames=self.pictures(clip.frames, clip.valid)))

    def pictures(self, frames: Tensor, valid: Tensor | None = None) -> Tensor:
        """Frames (..., T, 3, H, W) uint8 normalised to float32, zero where `valid` (..., T) is False.

        Frames that are float32 already are kept.
        """
        if frames.is_floating_point():
            return frames
        frames = self.normalisation(frames)
        return frames if valid is None else frames.masked_fill(~valid[..., None, None, None], 0)

    def with_audio(self, clip: AVClip) -> AVClip:
        """The clip with the front end's features, its frames as they are.

        Raises:
            UserError: If the clip has no sound that the front end can read.
        """
        front_end = self.front_end
        if front_end is None or (clip.audio is not None and clip.audio_kind == front_end.name):
            return clip
        if clip.waveform is None:
            cached = (
                f"only cached {clip.audio_kind} features" if clip.audio is not None else "no sound"
            )
            raise UserError(
                f"clip {clip.name} has {cached}, but the model hears {front_end.name}: it needs a waveform"
            )
        count = len(clip.frames)
        windows = sound_windows(
            clip.waveform, clip.sample_rate, front_end, count, clip.hop_seconds, clip.start_seconds
        )
        return replace(clip, audio=front_end(windows), audio_kind=front_end.name)

    def audio_of(self, clips: ClipSource, index: int) -> Float[Tensor, "t *f"] | None:
        """Features of clip `index`, without reading its pictures where the data set can do that."""
        return self.with_audio(sound_only(clips, index)).audio

    def silence(self, frames: int) -> Float[Tensor, "t *f"]:
        """Features of so many frames of digital silence.

        Raises:
            ValueError: If there is no front end.
        """
        if self.front_end is None:
            raise ValueError("silence needs a front end: this model has no audio encoder")
        return self.front_end(torch.zeros(frames, window_samples(self.front_end)))


class PreparedClips(Dataset[AVClip]):
    """A data set of clips as a model takes them."""

    def __init__(self, clips: ClipSource, preprocessor: ClipPreprocessor) -> None:
        self.clips, self.preprocessor = clips, preprocessor

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> AVClip:
        return self.preprocessor(self.clips[index])
