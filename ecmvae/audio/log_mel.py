"""VGGish's log-mel spectrogram in NumPy: what prediction needs where there is no PyTorch.

25 ms periodic Hann windows every 10 ms, magnitude spectrum, 64 HTK mel bands from 125 to 7,500 Hz, ``log(mel + 0.01)``
(Hershey et al., arXiv 1609.09430). YAMNet's differs in the offset of the logarithm, 0.001.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

SAMPLE_RATE = 16_000
"""Samples a second that VGGish hears."""
PATCH_WINDOWS, MEL_BINS = 96, 64
"""Windows (10 ms each) and mel bands of one log-mel patch."""
WINDOW, HOP = 400, 160
"""Samples of a window, and from one window to the next."""

VGGISH_OFFSET, YAMNET_OFFSET = 0.01, 0.001
"""What is added to the mel bands before the logarithm."""

_FFT = 512
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0


def log_mel(
    waveform: Float[np.ndarray, "*n s"], offset: float = VGGISH_OFFSET
) -> Float[np.ndarray, "*n windows 64"]:
    """The log-mel spectrogram of waveforms at 16 kHz: (..., S) -> (..., W, 64) float32, natural logarithm."""
    window, mel = _constants()
    windows = (
        np.lib.stride_tricks.sliding_window_view(waveform, WINDOW, axis=-1)[..., ::HOP, :] * window
    )
    magnitude = np.abs(np.fft.rfft(windows, n=_FFT))
    decibels: np.ndarray = np.log(magnitude @ mel + np.float32(offset))
    return decibels


def log_mel_patch(
    waveforms: Float[np.ndarray, "n s"], offset: float = VGGISH_OFFSET
) -> Float[np.ndarray, "n 1 96 64"]:
    """The patch that VGGish and YAMNet read of the second around a frame: the first 96 of its 98 windows."""
    return log_mel(waveforms, offset)[:, None, :PATCH_WINDOWS]


def mel_matrix() -> Float[np.ndarray, "257 64"]:
    """Weights of the 64 triangular mel bands on the 257 frequencies of the spectrum, float64.

    Edges are equally spaced in HTK mel, ``1127 ln(1 + f / 700)``, and the triangles are linear *in mel*, without area
    normalisation. The constant component (0 Hz) belongs to no band.
    """
    mel = _hertz_to_mel(np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1))[:, None]  # (257, 1)
    lowest, highest = _hertz_to_mel(np.array([_LOWEST_HZ, _HIGHEST_HZ]))
    edges = np.linspace(lowest, highest, MEL_BINS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]  # each (64,)
    weights: np.ndarray = np.minimum(
        (mel - lower) / (centre - lower), (upper - mel) / (upper - centre)
    ).clip(min=0)
    weights[0] = 0
    return weights


@cache
def _constants() -> tuple[np.ndarray, np.ndarray]:
    """The periodic Hann window (400,) and the mel matrix (257, 64), in float32."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return hann.astype(np.float32), mel_matrix().astype(np.float32)


def _hertz_to_mel(frequency: np.ndarray) -> np.ndarray:
    mel: np.ndarray = 1127.0 * np.log1p(frequency / 700.0)
    return mel
