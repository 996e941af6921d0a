"""Sounds in place of a clip's own, to train or to test a model with: one seeded function each, on waveforms.

==========  ============================================================================================
real        the clip's own sound
silent      digital silence
shuffled    the sound of another clip: a derangement of the whole data set
noise       its own sound with white noise
swapped     the sound of a clip that shares no class with it
shifted     its own sound at another moment
offscreen   its own sound with that of a clip that shares no class with it
noise_alone white noise in place of its own sound
speech      a voice in place of its own sound, where the data set offers one
music       music in place of its own sound, where the data set offers some
==========  ============================================================================================

Every condition goes through the same front end as the real sound, so that nothing but the sound differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.errors import UserError

Condition = Literal[
    "real",
    "silent",
    "shuffled",
    "noise",
    "swapped",
    "shifted",
    "offscreen",
    "noise_alone",
    "speech",
    "music",
]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

_OFF_SCREEN_LEVEL = 0.1
"""Root mean square, of full scale, that an added sound gets where the clip itself is silent: -20 dB."""


def wrong_sounds(
    own: Float[Tensor, " s"],
    sample_rate: int,
    other: Float[Tensor, " r"] | None,
    *,
    snr_db: float,
    shift_seconds: float,
    generator: torch.Generator,
    strangers: Mapping[Condition, Float[Tensor, " n"]] = MappingProxyType({}),
) -> dict[Condition, Float[Tensor, " k"]]:
    """A clip's own sound and what can be made of it; `swapped` and `offscreen` only with a sound of other classes.

    `strangers` are sounds of nothing that any clip shows (speech, music); they take the place of its own.
    """
    nothing = torch.zeros_like(own)
    made: dict[Condition, Tensor] = {
        "real": own,
        "silent": nothing,
        "noise": with_noise(own, snr_db, generator),
        "shifted": shifted(own, sample_rate, shift_seconds),
    }
    if other is not None:
        made |= {"swapped": other, "offscreen": with_sound(own, other, snr_db)}
    made["noise_alone"] = with_noise(nothing, 0.0, generator)
    return made | {name: with_sound(nothing, sound, 0.0) for name, sound in strangers.items()}


def with_noise(
    waveform: Float[Tensor, " s"], snr_db: float, generator: torch.Generator | None = None
) -> Float[Tensor, " s"]:
    """The sound with white Gaussian noise, at a signal-to-noise ratio in decibels over the whole clip."""
    noise = torch.randn(waveform.shape, generator=generator)
    return with_sound(waveform, noise, snr_db)


def with_sound(
    waveform: Float[Tensor, " s"], other: Float[Tensor, " r"], snr_db: float
) -> Float[Tensor, " s"]:
    """The sound with another one, looped or cut to its length, `snr_db` decibels below it (RMS over the clip).

    If the clip is silent, the other sound is added at -20 dB of full scale.
    """
    repeats = -(-len(waveform) // max(len(other), 1))
    added = other.repeat(repeats)[: len(waveform)]
    level, own = _rms(added), _rms(waveform)
    if level == 0:
        return waveform
    wanted = own * 10 ** (-snr_db / 20) if own > 0 else _OFF_SCREEN_LEVEL
    return waveform + added * (wanted / level)


def shifted(waveform: Float[Tensor, " s"], sample_rate: int, seconds: float) -> Float[Tensor, " s"]:
    """The sound later by `seconds`; what falls off the end comes in at the start."""
    return waveform.roll(round(seconds * sample_rate))


@lru_cache(maxsize=8)
def derangement(count: int, seed: int) -> tuple[int, ...]:
    """A random permutation of 0 ... count-1 without a fixed point: no clip receives its own audio.

    Raises:
        UserError: If there are fewer than two clips.
    """
    if count < 2:
        raise UserError("shuffled sound needs at least two clips: there is no other clip to hear")
    generator = torch.Generator().manual_seed(seed)
    while True:  # one random permutation in e has no fixed point
        order = torch.randperm(count, generator=generator)
        if not bool((order == torch.arange(count)).any()):
            return tuple(order.tolist())


def clips_of_other_classes(classes: Sequence[AbstractSet[str]], seed: int) -> list[int | None]:
    """For each clip a random one that shares no class with it; None where there is none or the classes are unknown.

    Args:
        classes: Class names of each clip's visible objects.
        seed: Seed of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen: list[int | None] = []
    for mine in classes:
        order = torch.randperm(len(classes), generator=generator).tolist()
        chosen.append(
            next((j for j in order if mine and classes[j] and not mine & classes[j]), None)
        )
    return chosen


def _rms(waveform: Tensor) -> float:
    return float(waveform.square().mean().sqrt()) if len(waveform) else 0.0
