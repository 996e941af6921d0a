"""What a data set of clips offers: the least that training and scoring need, and what comes with its sounds.

Every data set of this package is `SoundedClips`. Your own may be a plain `ClipSource`: only the names of objects and
sounds without their pictures are missing then.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from ecmvae.types import AVClip


@runtime_checkable
class ClipSource(Protocol):
    """A data set of clips. Where it has ``set_epoch(epoch)``, training calls it before it asks for a clip."""

    def __len__(self) -> int:
        """Number of clips."""

    def __getitem__(self, index: int) -> AVClip:
        """Clip number `index`."""


@runtime_checkable
class SoundedClips(ClipSource, Protocol):
    """Clips whose names, sounds and visible classes can be had without drawing or reading their pictures.

    Attributes:
        num_frames: Frames T of a clip.
        hop_seconds: Seconds between two log-mel patches.
    """

    num_frames: int
    hop_seconds: float

    def name(self, index: int) -> str:
        """Name of clip `index`."""

    def classes(self, index: int) -> tuple[str, ...]:
        """Names of its visible objects, as far as they are known."""

    def waveform(self, index: int) -> tuple[Tensor, int]:
        """Its sound (S,), one channel in [-1, 1], and the rate in Hz."""

    def log_mel(self, index: int) -> Tensor:
        """Its log-mel patches (T, 1, 96, 64)."""


def log_mel_of(clips: ClipSource, index: int) -> Tensor:
    """Log-mel patches (T, 1, 96, 64) of clip `index`, without its pictures where the data set can do that."""
    return clips.log_mel(index) if isinstance(clips, SoundedClips) else clips[index].log_mel
