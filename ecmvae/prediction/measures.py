"""Numbers of one frame: how loud its sound is, and how unsure its mask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_QUIET_DB = -60.0


def loudness(samples: Float[np.ndarray, "n s"]) -> Float[np.ndarray, " n"]:
    """Loudness of stretches of sound: -60 dB of full scale or less is 0, full scale is 1."""
    power = np.square(samples).mean(axis=-1)
    level: np.ndarray = np.clip(1 - 10 * np.log10(power + 1e-12) / _QUIET_DB, 0, 1).astype(
        np.float32
    )
    return level


def binary_entropy(probability: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Entropy in bits of a yes-no answer: 0 where the probability is 0 or 1, 1 where it is one half."""
    inside = probability.clip(1e-6, 1 - 1e-6)
    entropy: np.ndarray = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    return entropy
