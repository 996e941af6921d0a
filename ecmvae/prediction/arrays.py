"""Checks of frames and sound that come as arrays."""

from __future__ import annotations

import numpy as np

from ecmvae.errors import UserError


def check_frames(frames: np.ndarray) -> None:
    """Frames are (F, H, W, 3) uint8 RGB, at least one.

    Raises:
        UserError: When they are not; floats in [0, 1], grey or transparent pictures would give wrong masks.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise UserError(f"frames are (F, H, W, 3) uint8 RGB, got {frames.dtype} {frames.shape}")
    if not frames.size:
        raise UserError("there is no frame to look at")


def check_sound(waveform: np.ndarray, sample_rate: int) -> None:
    """Sound is (S,) float in [-1, 1], mono, finite, at a rate in Hz.

    Raises:
        UserError: When it is not; whole numbers would be far too loud.
    """
    if waveform.ndim != 1:
        raise UserError(f"a waveform is mono, (S,), got {waveform.shape}: take the mean of its channels")
    if waveform.dtype.kind != "f":
        raise UserError(f"a waveform is float in [-1, 1], got {waveform.dtype}: divide int16 by 32768")
    if not np.isfinite(waveform).all():
        raise UserError("the waveform holds NaN or infinity")
    if sample_rate < 1:
        raise UserError(f"sample_rate is a number of Hz, got {sample_rate}")
