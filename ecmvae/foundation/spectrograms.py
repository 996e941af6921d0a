"""The log-mel spectrograms that the foundation models were trained on, in PyTorch, a batch at a time.

Kaldi's filter bank, of AST; and librosa's mel spectrogram in decibels, of CLAP. `tests/foundation` holds both against
transformers' own feature extractors.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_EPSILON = torch.finfo(torch.float32).eps


def kaldi_filter_bank(
    waveforms: Float[Tensor, "n s"], sample_rate: int, bands: int
) -> Float[Tensor, "n w m"]:
    """Kaldi's log filter bank without dither: windows of 25 ms every 10 ms, natural logarithm of the power.

    Args:
        waveforms: (n, S), S at least a window long.
        sample_rate: In Hz.
        bands: M, from 20 Hz to half the rate.
    """
    length, hop = int(sample_rate * 0.025), int(sample_rate * 0.010)
    windows = waveforms.float().unfold(-1, length, hop)
    windows = windows - windows.mean(-1, keepdim=True)
    before = torch.cat([windows[..., :1], windows[..., :-1]], dim=-1)
    window = torch.hann_window(length, periodic=False, device=waveforms.device)
    size = 1 << (length - 1).bit_length()
    power = torch.fft.rfft((windows - 0.97 * before) * window, n=size).abs().square()
    bank = _kaldi_bands(bands, size, sample_rate).to(power)
    logarithm: Tensor = (power @ bank).clamp(min=_EPSILON).log()
    return logarithm


def decibel_mel(
    waveforms: Float[Tensor, "n s"],
    sample_rate: int,
    bands: int,
    size: int,
    hop: int,
    lowest: float,
    highest: float,
) -> Float[Tensor, "n w m"]:
    """A mel spectrogram on Slaney's scale, each band of area 1, in decibels of the power, at least -100.

    Args:
        waveforms: (n, S).
        sample_rate: In Hz.
        bands: M.
        size: Samples of a window.
        hop: Samples from one window's middle to the next one's; the first is at sample 0, and what lies before it is
            reflected.
        lowest: Where the first band begins, in Hz.
        highest: Where the last band ends, in Hz.
    """
    window = torch.hann_window(size, dtype=torch.float64, device=waveforms.device)
    padded = F.pad(waveforms.double()[:, None], (size // 2, size // 2), mode="reflect")[:, 0]
    power = torch.fft.rfft(padded.unfold(-1, size, hop) * window).abs().square()
    bank = _slaney_bands(bands, size, sample_rate, lowest, highest).to(power)
    decibels: Tensor = 10 * (power @ bank).clamp(min=1e-10).log10()
    return decibels.float()


@cache
def _kaldi_bands(bands: int, size: int, sample_rate: int) -> Float[Tensor, "f m"]:
    """Triangles that are linear in mel, 1127 ln(1 + f / 700); the frequency at half the rate belongs to none."""
    mel = 1127 * torch.log1p(
        torch.arange(size // 2 + 1, dtype=torch.float64) * (sample_rate / size) / 700
    )
    lowest, highest = (1127 * math.log1p(hertz / 700) for hertz in (20.0, sample_rate / 2))
    weights = _triangles(mel, torch.linspace(lowest, highest, bands + 2, dtype=torch.float64))
    weights[-1] = 0
    return weights


@cache
def _slaney_bands(
    bands: int, size: int, sample_rate: int, lowest: float, highest: float
) -> Float[Tensor, "f m"]:
    """Triangles that are linear in Hz, with edges at equal steps of Slaney's scale."""
    hertz = torch.linspace(0, sample_rate // 2, size // 2 + 1, dtype=torch.float64)
    low, high = (_slaney_mel(each) for each in (lowest, highest))
    mel = torch.linspace(low, high, bands + 2, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))
    return _triangles(hertz, edges) * (2 / (edges[2:] - edges[:-2]))


def _slaney_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _triangles(points: Float[Tensor, " f"], edges: Float[Tensor, " e"]) -> Float[Tensor, "f m"]:
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    position = points[:, None]
    return torch.minimum(
        (position - lower) / (centre - lower), (upper - position) / (upper - centre)
    ).clamp(min=0)
