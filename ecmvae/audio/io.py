"""Sound files and the VGGish front end: the only door to soundfile and torchaudio.

The front end is that of VGGish (Hershey et al., "CNN architectures for large-scale audio classification", 2017,
arXiv:1609.09430), number for number: 25 ms periodic Hann windows every 10 ms, magnitude spectrum, 64 HTK mel bands
from 125 to 7,500 Hz, ``log(mel + 0.01)``, cut into patches of 96 windows. Training, evaluation and prediction all
take their patches from `log_mel_patches`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.files import replacing

SAMPLE_RATE = 16_000
"""Samples a second that VGGish hears."""

PATCH_WINDOWS = 96
"""Windows (10 ms each) of one log-mel patch."""

MEL_BINS = 64
"""Mel bands of a log-mel patch."""

RELEASED_HOP_SECONDS = 0.96
"""Distance of the patches in the released AVSBench data: five of them span 4.8 s, so patch k drifts off second k."""

_WINDOW = 400
_HOP = 160
_FFT = 512
_LOG_OFFSET = 0.01
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0


def read_wave(path: str | Path) -> tuple[Float[Tensor, " s"], int]:
    """Read a sound file (wav, ogg, flac) as one channel.

    Returns:
        The waveform, (S,) float32 in [-1, 1] (16-bit samples divided by 32768, channels averaged), and its rate in Hz.

    Raises:
        UserError: When the file is missing, is no sound file, or holds no sample or one that is no number.
    """
    import soundfile

    if not Path(path).is_file():
        raise UserError(f"{path}: no such sound file")
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path}: cannot be read as sound ({error.error_string}); give a wav, ogg or flac file"
        ) from error
    if samples.shape[0] == 0:
        raise UserError(f"{path}: holds no sound, it has zero samples")
    waveform = torch.from_numpy(samples).mean(dim=1)
    if not waveform.isfinite().all():
        raise UserError(f"{path}: holds samples that are no numbers (NaN or infinity)")
    return waveform, int(rate)


def write_wave(path: str | Path, waveform: Float[Tensor, " s"], sample_rate: int = SAMPLE_RATE) -> None:
    """Write one channel as a 16-bit wav file; values outside [-1, 1) are clipped.

    A value v is stored as round(32768 v), so `read_wave` gives back what was a multiple of 1/32768 unchanged.
    """
    import soundfile

    pcm = (waveform.detach().cpu().double() * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()
    with replacing(Path(path)) as part:
        soundfile.write(str(part), pcm, sample_rate, subtype="PCM_16", format="WAV")


def resample(
    waveform: Float[Tensor, "*channels s"], rate: int, new_rate: int = SAMPLE_RATE
) -> Float[Tensor, "*channels k"]:
    """Band-limited resampling of the last dimension from `rate` to `new_rate` Hz.

    The filter is resampy's default, "kaiser_best" (50 zero crossings, roll-off 0.917, Kaiser beta 12.98), which the
    released preprocessing uses: a 44.1 kHz recording keeps its log-mel to a median of 4e-5.
    """
    if rate == new_rate:
        return waveform
    import torchaudio.functional

    resampled: Tensor = torchaudio.functional.resample(
        waveform,
        rate,
        new_rate,
        lowpass_filter_width=50,
        rolloff=0.917347,
        resampling_method="sinc_interp_kaiser",
        beta=12.9846,
    )
    return resampled


def num_log_mel_patches(num_samples: int, hop_seconds: float = RELEASED_HOP_SECONDS) -> int:
    """How many whole patches `log_mel_patches` cuts out of `num_samples` samples at 16 kHz."""
    windows = 0 if num_samples < _WINDOW else 1 + (num_samples - _WINDOW) // _HOP
    count = 0
    while _first_window(count, hop_seconds) + PATCH_WINDOWS <= windows:
        count += 1
    return count


def log_mel_patches(
    waveform: Float[Tensor, " s"],
    sample_rate: int = SAMPLE_RATE,
    hop_seconds: float = RELEASED_HOP_SECONDS,
    num_patches: int | None = None,
) -> Float[Tensor, "p 1 96 64"]:
    """Cut a waveform into the log-mel patches that VGGish reads.

    Args:
        waveform: (S,) one channel in [-1, 1].
        sample_rate: Rate of `waveform` in Hz; anything but 16,000 is resampled first.
        hop_seconds: Distance of two patches' starts. Patch k starts at window ``round(100 k hop_seconds)`` and is
            0.96 s long. 0.96 is the released preprocessing; 1.0 keeps patch k inside second k.
        num_patches: How many patches to return: later sound is cut off and missing sound is silence. None returns
            the whole patches that there are and drops an incomplete tail, as the released preprocessing does.

    Returns:
        (P, 1, 96, 64) float32, natural logarithm.

    Raises:
        ValueError: When `hop_seconds` is not positive or `num_patches` is negative.
    """
    if hop_seconds < 1 / 100:
        raise ValueError(f"hop_seconds must be at least 0.01 (one window), got {hop_seconds}")
    if num_patches is not None and num_patches < 0:
        raise ValueError(f"num_patches must not be negative, got {num_patches}")
    waveform = resample(waveform.float(), sample_rate)
    if num_patches is None:
        num_patches = num_log_mel_patches(waveform.shape[-1], hop_seconds)
    if num_patches == 0:
        return waveform.new_zeros(0, 1, PATCH_WINDOWS, MEL_BINS)
    starts = torch.tensor([_first_window(k, hop_seconds) for k in range(num_patches)])
    needed = (int(starts[-1]) + PATCH_WINDOWS - 1) * _HOP + _WINDOW
    if waveform.shape[-1] < needed:
        waveform = torch.nn.functional.pad(waveform, (0, needed - waveform.shape[-1]))
    spectrogram = _log_mel(waveform[:needed])  # (windows, M)
    index = starts[:, None] + torch.arange(PATCH_WINDOWS)  # (P, 96)
    return spectrogram[index.to(spectrogram.device)].unsqueeze(1)


def _first_window(patch: int, hop_seconds: float) -> int:
    return round(patch * hop_seconds * SAMPLE_RATE / _HOP)


def _log_mel(waveform: Float[Tensor, " s"]) -> Float[Tensor, "windows 64"]:
    window, mel = _front_end(waveform.device)
    windows = waveform.unfold(-1, _WINDOW, _HOP) * window
    magnitude = torch.fft.rfft(windows, n=_FFT).abs()
    return torch.log(magnitude @ mel + _LOG_OFFSET)


@lru_cache(maxsize=4)
def _front_end(device: torch.device) -> tuple[Tensor, Tensor]:
    """The periodic Hann window (400,) and the mel matrix (257, 64)."""
    window = torch.hann_window(_WINDOW, periodic=True, dtype=torch.float64)
    return window.float().to(device), mel_matrix().float().to(device)


def mel_matrix() -> Float[Tensor, "257 64"]:
    """Weights of the 64 triangular mel bands on the 257 frequencies of the spectrum, float64.

    Edges are equally spaced in HTK mel, ``1127 ln(1 + f / 700)``, and the triangles are linear *in mel*, without area
    normalisation. The constant component (0 Hz) belongs to no band.
    """
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1, dtype=torch.float64)
    mel = _hertz_to_mel(frequencies)[:, None]  # (257, 1)
    lowest, highest = _hertz_to_mel(torch.tensor([_LOWEST_HZ, _HIGHEST_HZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(lowest, highest, MEL_BINS + 2, dtype=torch.float64)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]  # each (64,)
    weights = torch.minimum((mel - lower) / (centre - lower), (upper - mel) / (upper - centre)).clamp(min=0)
    weights[0] = 0
    return weights


def _hertz_to_mel(frequency: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(frequency / 700.0)
