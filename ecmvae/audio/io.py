"""Sound files and resampling: the only module that imports soundfile and torchaudio."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.errors import UserError, check_range
from ecmvae.files import replacing

SAMPLE_RATE = 16_000
"""Samples a second of the sound that this package composes and writes."""


_LARGEST_TERM = 4000  # of a ratio of rates: a filter bank of at most 16.5 million coefficients


def read_wave(path: str | Path) -> tuple[Float[Tensor, " s"], int]:
    """Read a sound file (wav, ogg, flac) as one channel.

    Returns:
        The waveform, (S,) float32 in [-1, 1] (16-bit samples divided by 32768, channels averaged), and its rate in Hz.

    Raises:
        UserError: If the file is missing, is not a sound file, or holds no sample or one that is not a number.
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
        raise UserError(f"{path}: holds samples that are not numbers (NaN or infinity)")
    return waveform, int(rate)


def write_wave(
    path: str | Path, waveform: Float[Tensor, " s"], sample_rate: int = SAMPLE_RATE
) -> None:
    """Write one channel as a 16-bit wav file; values outside [-1, 1) are clipped.

    A value v is stored as round(32768 v), so `read_wave` gives back what was a multiple of 1/32768 unchanged.
    """
    import soundfile

    pcm = (
        (waveform.detach().cpu().double() * 32768)
        .round()
        .clamp(-32768, 32767)
        .to(torch.int16)
        .numpy()
    )
    with replacing(Path(path)) as part:
        soundfile.write(str(part), pcm, sample_rate, subtype="PCM_16", format="WAV")


def resample(
    waveform: Float[Tensor, "*channels s"], rate: int, new_rate: int = SAMPLE_RATE
) -> Float[Tensor, "*channels k"]:
    """Band-limited resampling of the last dimension from `rate` to `new_rate` Hz.

    The filter is resampy's default, "kaiser_best" (50 zero crossings, roll-off 0.917, Kaiser beta 12.98), which the
    released preprocessing uses: a 44.1 kHz recording keeps its log-mel to a median of 4e-5.

    The filter bank grows with the terms of the reduced ratio of the rates. Where one is above 4,000, as for 44,101 Hz,
    the nearest ratio within that limit is used: time is off by less than 1/4,000, a quarter of a millisecond a second.

    Raises:
        UserError: For a rate outside 100 Hz to 1 MHz.
    """
    for each in (rate, new_rate):
        check_range("the sample rate, in Hz,", each, 100, 1_000_000)
    if rate == new_rate:
        return waveform
    slower, faster = sorted((rate, new_rate))
    ratio = Fraction(slower, faster).limit_denominator(_LARGEST_TERM)
    old, new = (
        (ratio.numerator, ratio.denominator)
        if rate == slower
        else (ratio.denominator, ratio.numerator)
    )
    import torchaudio.functional

    resampled: Tensor = torchaudio.functional.resample(
        waveform,
        old,
        new,
        lowpass_filter_width=50,
        rolloff=0.917347,
        resampling_method="sinc_interp_kaiser",
        beta=12.9846,
    )
    return resampled
