"""Loudness against decibels of sines and squares, entropy against tables of bits."""

import numpy as np
import pytest

from ecmvae.prediction.measures import binary_entropy, loudness


def test_full_scale_is_1_and_each_6_db_a_tenth_less() -> None:
    square = np.tile(np.array([1.0, -1.0]), 800)
    levels = np.array([0, -6, -30, -54, -60, -80])
    found = loudness(10 ** (levels[:, None] / 20) * square)
    np.testing.assert_allclose(found, [1, 0.9, 0.5, 0.1, 0, 0], atol=1e-6)
    sine = np.sin(2 * np.pi * np.arange(1600) / 16)[None]
    assert loudness(sine)[0] == pytest.approx(1 - 3.0103 / 60, abs=1e-5)  # power one half
    assert loudness(np.zeros((1, 10)))[0] == 0


def test_entropy_in_bits() -> None:
    # H(1/4) = 2 - 3/4 log2 3, H(1/8) = 3 - 7/8 log2 7
    expected = [0, 1, 2 - 0.75 * np.log2(3), 2 - 0.75 * np.log2(3), 3 - 0.875 * np.log2(7), 0]
    found = binary_entropy(np.array([0.0, 0.5, 0.25, 0.75, 0.125, 1.0]))
    np.testing.assert_allclose(found, expected, atol=1e-4)
