"""Clips in which one sound is switched on and off again: a test of how soon a model notices.

The scene stands still, so that a mask can only change with the sound. A clip is there ten times, each time with its
sound shifted by another tenth of a second.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from einops import repeat
from torch.utils.data import Dataset

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.clips import FRAME_TIMES, CollageClips
from ecmvae.data.collage.scene import SECONDS
from ecmvae.data.collage.sound import loudest_second
from ecmvae.types import AVClip

SHIFTS = 10
"""How many times each clip is there: frame k of shift j stands at FRAME_TIMES[k] + j / SHIFTS seconds."""

_ON, _OFF = (1.2, 2.0), (3.2, 3.8)
"""Between which seconds the sound begins and ends."""

_STILL = SECONDS // 2  # the frame that is shown throughout


@dataclass(frozen=True, kw_only=True)
class Switch:
    """When a thing sounds, in seconds from the start of the clip.

    Attributes:
        picture: Id of the cut-out.
        on: Its sound begins.
        off: Its sound ends.
    """

    picture: str
    on: float
    off: float


class SwitchedClips(Dataset[AVClip]):
    """The scenes of a data set, each standing still, with the loudest second of one recording repeated for a while.

    Before and after it there is digital silence. The mask is that of the thing that the recording belongs to.

    Args:
        clips: Where scenes and recordings are taken from.
        seed: Seed of the moments.
    """

    def __init__(self, clips: CollageClips, seed: int = 0) -> None:
        self.clips = clips
        rng = np.random.default_rng([seed, zlib.crc32(b"switches")])
        self.switches = tuple(
            Switch(
                picture=clips.heard(index).image,
                on=round(rng.uniform(*_ON), 2),
                off=round(rng.uniform(*_OFF), 2),
            )
            for index in range(len(clips))
        )

    def __len__(self) -> int:
        return SHIFTS * len(self.clips)

    def __getitem__(self, index: int) -> AVClip:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, shift = divmod(index, SHIFTS)
        switch, heard = self.switches[number], self.clips.heard(number)
        frames, objects = self.clips.frames(number)
        things = [placed.image for placed in self.clips.scene(number).objects]
        mask = torch.from_numpy(objects[_STILL] == 1 + things.index(heard.image)).float()
        waveform = np.zeros(SECONDS * SAMPLE_RATE, dtype=np.float32)
        start, stop = (round(moment * SAMPLE_RATE) for moment in (switch.on, switch.off))
        loudest = loudest_second(self.clips.sources.load_sound(heard.sound))
        waveform[start:stop] = np.resize(loudest, stop - start)
        return AVClip(
            name=f"switched_{index:05d}",
            frames=repeat(torch.from_numpy(frames[_STILL]), "h w c -> t c h w", t=SECONDS),
            waveform=torch.from_numpy(waveform),
            sample_rate=SAMPLE_RATE,
            hop_seconds=1.0,
            start_seconds=shift / SHIFTS,
            masks=repeat(mask, "h w -> t 1 h w", t=SECONDS),
            picture=heard.image,
            recording=heard.sound,
        )


def times_of(index: int) -> list[float]:
    """When the frames of clip `index` stand, in seconds."""
    return [moment + (index % SHIFTS) / SHIFTS for moment in FRAME_TIMES]
