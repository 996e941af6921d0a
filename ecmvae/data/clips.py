"""What a data set of clips offers: the least that training and scoring need, and what comes with its sounds.

Every data set of this package is `SoundedClips`. Your own may be a plain `ClipSource`, such as a list of clips: only
the names of objects, and sounds without their pictures, are missing then.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ecmvae.types import AVClip


@runtime_checkable
class ClipSource(Protocol):
    """A data set of clips. If it has ``set_epoch(epoch)``, training calls it before it asks for a clip."""

    def __len__(self) -> int:
        """Number of clips."""

    def __getitem__(self, index: int) -> AVClip:
        """Clip number `index`."""


@runtime_checkable
class SoundedClips(ClipSource, Protocol):
    """Clips whose names, sounds and visible classes are available without drawing or reading their pictures.

    Attributes:
        num_frames: Frames T of a clip.
        hop_seconds: Seconds between two frames.
    """

    num_frames: int
    hop_seconds: float

    def name(self, index: int) -> str:
        """Name of clip `index`."""

    def classes(self, index: int) -> tuple[str, ...]:
        """Names of its visible objects, as far as they are known."""

    def waveform(self, index: int) -> tuple[Tensor, int]:
        """Its sound (S,), one channel in [-1, 1], and the rate in Hz."""


@runtime_checkable
class OffersOtherSounds(Protocol):
    """Clips that also offer sounds of nothing that any of them shows."""

    def other_sound(self, sort: str, index: int) -> tuple[str, Tensor] | None:
        """Name and waveform at 16 kHz of a sound of this sort (speech, music) for clip `index`; None: there is none."""


def sound_only(clips: ClipSource, index: int) -> AVClip:
    """Clip `index` without its pictures where the data set can do that: the frames are then (T, 3, 0, 0).

    A data set whose clips may come with cached audio features, or begin elsewhere in their sound, has a method
    `sound_fields`, as `AVSBenchDataset` has.
    """
    if not isinstance(clips, SoundedClips):
        return clips[index]
    if (own := getattr(clips, "sound_fields", None)) is not None:
        fields: dict[str, Any] = own(index)
    else:
        waveform, sample_rate = clips.waveform(index)
        fields = {"waveform": waveform, "sample_rate": sample_rate}
    frames = torch.empty(clips.num_frames, 3, 0, 0, dtype=torch.uint8)
    return AVClip(
        name=clips.name(index), frames=frames, **{"hop_seconds": clips.hop_seconds, **fields}
    )
