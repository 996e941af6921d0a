"""Sound files and resampling: the only module that imports soundfile and torchaudio."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.files import replacing

SAMPLE_RATE = 16_000
"""Samples a second of the sound that this package composes and writes."""


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
