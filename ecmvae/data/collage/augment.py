"""Random changes of a recording that leave its class: spectral tilt and reverberation; and noise of several colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float32

from ecmvae.audio.io import SAMPLE_RATE

Augmentation = Literal["strong", "mild"]


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How recordings vary in training.

    Attributes:
        semitones: Largest change of pitch, up or down.
        gains: Range of a recording's gain, in decibels.
        noise: Range of the noise in a clip, in decibels below a recording.
        rooms: Whether tilt, reverberation (`recolour`) and the colour of the noise vary.
    """

    semitones: float
    gains: tuple[float, float]
    noise: tuple[float, float]
    rooms: bool


VARIATIONS: dict[Augmentation, Variation] = {
    "strong": Variation(semitones=4.0, gains=(-9.0, 3.0), noise=(10.0, 50.0), rooms=True),
    "mild": Variation(semitones=2.0, gains=(-6.0, 3.0), noise=(20.0, 50.0), rooms=False),
}
"""By the value of ``data.sound_augmentation``: mild needs fewer steps and knows other rooms and microphones less."""

_TILT = 3.0
_TILT_LIMIT = 12.0
_ECHOES = 0.5
_TAIL = SAMPLE_RATE // 2
_TIMES = np.arange(_TAIL, dtype=np.float32)


def decibels(value: float) -> np.float32:
    """The factor on amplitudes that `value` decibels are."""
    return np.float32(10 ** (value / 20))


def coloured_noise(rng: np.random.Generator, length: int) -> Float32[np.ndarray, " s"]:
    """White, pink or brown noise, each with probability 1/3, with a root mean square of 1."""
    fall = rng.integers(3) / 2  # amplitude is proportional to 1, f^-1/2 or f^-1
    frequencies = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    shape = np.where(frequencies >= 20, np.maximum(frequencies, 20) ** -fall, 0).astype(np.float32)
    white = rng.standard_normal((2, frequencies.size), dtype=np.float32)
    samples = np.fft.irfft((white[0] + 1j * white[1]) * shape, length).astype(np.float32)
    scaled: np.ndarray = samples / np.sqrt(np.mean(np.square(samples)))
    return scaled


def recolour(
    samples: Float32[np.ndarray, " s"], rng: np.random.Generator
) -> Float32[np.ndarray, " s"]:
    """Another microphone and room: a spectral tilt and, in half of the calls, reverberation, at the same level.

    The tilt is up to 3 dB an octave about 1 kHz, at most 12 dB. The room is the direct sound and exponentially decaying
    noise of 0.1 to 0.6 s (to -60 dB), 20 to 3 dB below it in energy.
    """
    size = samples.size + _TAIL
    tilt = np.clip(
        np.float32(rng.uniform(-_TILT, _TILT)) * _octaves(size), -_TILT_LIMIT, _TILT_LIMIT
    )
    response: np.ndarray = 10 ** (tilt / 20)
    if rng.random() < _ECHOES:
        fall = -np.log(1000) / (rng.uniform(0.1, 0.6) * SAMPLE_RATE)
        echoes = rng.standard_normal(_TAIL, dtype=np.float32) * np.exp(np.float32(fall) * _TIMES)
        echoes *= decibels(rng.uniform(-20, -3)) / np.sqrt(np.sum(np.square(echoes)))
        echoes[0] += 1
        response = response * np.fft.rfft(echoes, size)
    changed = np.fft.irfft(np.fft.rfft(samples, size) * response, size)[: samples.size]
    before, after = np.mean(np.square(samples)), np.mean(np.square(changed))
    return (changed * np.sqrt(before / after)).astype(np.float32) if after > 0 else samples


@lru_cache(maxsize=8)
def _octaves(size: int) -> Float32[np.ndarray, " f"]:
    """Octaves above 1 kHz of the frequencies of a transform of `size` samples; below 50 Hz those of 50 Hz."""
    octaves: np.ndarray = np.log2(
        np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 50) / 1000
    ).astype(np.float32)
    return octaves
