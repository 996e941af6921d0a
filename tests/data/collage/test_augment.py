"""Colours of noise, and what a change of microphone and room does and leaves alone."""

import numpy as np
import pytest

from ecmvae.data.collage.augment import coloured_noise, decibels, recolour


def band_level(samples, low, high):
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / 16000)
    return 10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean())


def test_noise_falls_by_0_3_or_6_decibels_an_octave():
    rng = np.random.default_rng(0)
    falls = []
    for _ in range(60):
        noise = coloured_noise(rng, 64_000)
        assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, rel=1e-5)
        falls.append((band_level(noise, 200, 300) - band_level(noise, 3200, 4800)) / 4)
    nearest = [min((0, 3, 6), key=lambda slope: abs(slope - fall)) for fall in falls]
    assert np.abs(np.array(falls) - nearest).max() < 0.6
    assert {nearest.count(slope) > 8 for slope in (0, 3, 6)} == {True}


def test_decibels():
    assert [float(decibels(value)) for value in (-20.0, 0.0, 6.0206)] == pytest.approx([0.1, 1, 2])


class TestRecolour:
    def test_the_level_stays_and_the_tilt_is_limited(self):
        rng = np.random.default_rng(1)
        white = rng.standard_normal(32_000).astype(np.float32)
        slopes = []
        for seed in range(40):
            changed = recolour(white, np.random.default_rng(seed))
            assert changed.dtype == np.float32
            assert changed.shape == white.shape
            assert np.mean(changed**2) == pytest.approx(np.mean(white**2), rel=1e-3)
            slopes.append((band_level(changed, 3200, 4800) - band_level(changed, 200, 300)) / 4)
        assert max(slopes) < 4
        assert min(slopes) > -4
        assert np.std(slopes) == pytest.approx(6 / np.sqrt(12), rel=0.35)

    def test_half_of_the_rooms_echo_for_less_than_a_second(self):
        click = np.zeros(16_000, np.float32)
        click[:50] = 1
        echoing = 0
        for seed in range(60):
            late = recolour(click, np.random.default_rng(seed))[1_000:]
            echoing += np.abs(late[:1_000]).max() > 5e-3
            assert np.abs(late[8_000:]).max() < 1e-2
        assert 18 <= echoing <= 42

    def test_silence_stays_silent(self):
        assert not recolour(np.zeros(8_000, np.float32), np.random.default_rng(0)).any()
