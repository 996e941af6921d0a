"""The NumPy front end against SciPy's spectrum and closed forms; test_io.py holds the known answers of the release."""

import numpy as np
import scipy.signal
import torch

from ecmvae.audio.log_mel import log_mel, log_mel_patch, mel_matrix
from ecmvae.audio.vggish import VGGishFrontEnd


def test_silence_is_the_logarithm_of_the_offset() -> None:
    assert np.allclose(log_mel(np.zeros(16_000, np.float32)), np.log(0.01), atol=1e-6)
    assert log_mel(np.zeros((2, 16_000), np.float32)).shape == (2, 98, 64)


def test_the_spectrum_is_scipys() -> None:
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    window = scipy.signal.get_window("hann", 400)
    framed = np.stack(
        [sound[start : start + 400] * window for start in range(0, 16_000 - 399, 160)]
    )
    expected = np.log(np.abs(scipy.fft.rfft(framed, 512)) @ mel_matrix() + 0.01)
    assert np.abs(log_mel(sound) - expected).max() < 1e-4


def test_tensors_and_arrays_give_the_same_patch() -> None:
    sound = np.random.default_rng(0).standard_normal((3, 16_000)).astype(np.float32)
    patch = log_mel_patch(sound)
    assert patch.shape == (3, 1, 96, 64)
    assert patch.dtype == np.float32
    assert np.array_equal(VGGishFrontEnd()(torch.from_numpy(sound)).numpy(), patch)
