"""Pairs of whole photographs with the sound of one: a test that is not composed of cut-outs.

Two photographs of different classes, each cut to 2 : 1 at its centre, stand one above the other and fill the square.
There are no masks: what can be told is which half a model marks.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.scene import SECONDS
from ecmvae.data.collage.sources import CollageSources
from ecmvae.errors import UserError
from ecmvae.types import AVClip


@dataclass(frozen=True, kw_only=True)
class PhotographPair:
    """What one clip shows and plays.

    Attributes:
        upper, lower: Ids of the photographs.
        heard: 0 where the upper one sounds, 1 where the lower one does.
        sound: Id of the recording.
    """

    upper: str
    lower: str
    heard: int
    sound: str

    @property
    def picture(self) -> str:
        """Id of the photograph that sounds."""
        return (self.upper, self.lower)[self.heard]


class PhotographPairs(Dataset[AVClip]):
    """Clips of two still photographs, of which one sounds throughout.

    Every photograph sounds about equally often, beside a random one of another class, above or below it. The recording
    is a held-out one of the class where there is one.

    Args:
        sources: Photographs and recordings, with the fold of the model that is tested.
        length: Number of pairs.
        size: Side of the frames in pixels, an even number.
        seed: Seed of the pairs; the same for all folds, but for the recordings.
        hop_seconds: Seconds between two frames' sounds.

    Raises:
        UserError: If there are no photographs of two classes.
    """

    def __init__(
        self,
        sources: CollageSources,
        length: int = 48,
        *,
        size: int = 224,
        seed: int = 0,
        hop_seconds: float = 1.0,
    ) -> None:
        self.sources, self.size, self.hop_seconds = sources, size, hop_seconds
        photographs = sources.photographs()
        if len({item.category for item in photographs}) < 2:
            raise UserError(
                "these sources have no photographs of two classes: fetch the sources again"
            )
        rng = np.random.default_rng([seed, zlib.crc32(b"photographs")])
        order = rng.permutation(len(photographs))
        pairs = []
        for number in range(length):
            own = photographs[order[number % len(order)]]
            others = [item for item in photographs if item.category != own.category]
            other, heard = others[rng.integers(len(others))], int(rng.integers(2))
            sounds = sources.sounds(own.category, held_out=True) or sources.sounds(own.category)
            # one number, however many recordings there are
            sound = sounds[int(rng.random() * len(sounds))]
            upper, lower = (other, own) if heard else (own, other)
            pairs.append(PhotographPair(upper=upper.id, lower=lower.id, heard=heard, sound=sound))
        self.pairs = tuple(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> AVClip:
        pair = self.pairs[index]
        picture = torch.from_numpy(np.concatenate([self._half(pair.upper), self._half(pair.lower)]))
        return AVClip(
            name=f"photographs_{index:05d}",
            frames=repeat(picture, "h w c -> t c h w", t=SECONDS),
            waveform=self._sound(pair.sound),
            sample_rate=SAMPLE_RATE,
            hop_seconds=self.hop_seconds,
            category=self.sources.item("photograph", pair.picture).category,
            picture=pair.picture,
            recording=pair.sound,
        )

    def _half(self, photograph: str) -> UInt8[np.ndarray, "h w 3"]:
        image = Image.fromarray(self.sources.load_photograph(photograph))
        return np.asarray(
            ImageOps.fit(image, (self.size, self.size // 2), Image.Resampling.BILINEAR)
        )

    def _sound(self, sound: str) -> Float[Tensor, " s"]:
        """The recording, repeated over the clip."""
        recording = self.sources.load_sound(sound)
        return torch.from_numpy(np.resize(recording, SECONDS * SAMPLE_RATE))
