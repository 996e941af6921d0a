"""Sounds that are wrong in a stated way: noise, another moment, something off-screen. Pure functions on waveforms."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def with_noise(
    waveform: Float[Tensor, " s"], snr_db: float, generator: torch.Generator | None = None
) -> Float[Tensor, " s"]:
    """The sound plus white Gaussian noise, at a signal-to-noise ratio in decibels over the whole clip."""
    noise = torch.randn(waveform.shape, generator=generator)
    return with_sound(waveform, noise, snr_db)


def with_sound(waveform: Float[Tensor, " s"], other: Float[Tensor, " r"], snr_db: float) -> Float[Tensor, " s"]:
    """The sound plus another one, looped or cut to its length, `snr_db` decibels below it (RMS over the clip).

    Of a silent sound nothing is above or below: it is returned with the other one at -20 dB of full scale.
    """
    repeats = -(-len(waveform) // max(len(other), 1))
    added = other.repeat(repeats)[: len(waveform)]
    level, own = _rms(added), _rms(waveform)
    if level == 0:
        return waveform
    wanted = own * 10 ** (-snr_db / 20) if own > 0 else 0.1
    return waveform + added * (wanted / level)


def shifted(waveform: Float[Tensor, " s"], sample_rate: int, seconds: float) -> Float[Tensor, " s"]:
    """The sound later by `seconds`; what falls off the end comes in at the start."""
    return waveform.roll(round(seconds * sample_rate))


def _rms(waveform: Tensor) -> float:
    return float(waveform.square().mean().sqrt()) if len(waveform) else 0.0
