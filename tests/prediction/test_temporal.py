"""Smoothing and interpolation over time against SciPy, NumPy and closed forms."""

import numpy as np
import pytest

from ecmvae.prediction.temporal import interpolate_in_time, smooth, smoothing_reach

RANDOM = np.random.default_rng(0)


def test_no_smoothing_is_the_identity() -> None:
    maps = RANDOM.random((7, 2, 3))
    assert np.array_equal(smooth(maps, 0.0), maps)
    assert np.array_equal(smooth(maps, 0.4), maps)  # the Gaussian reaches no neighbour
    assert smoothing_reach(1.0) == 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.4])
def test_smoothing_is_a_cut_gaussian(sigma: float) -> None:
    maps = RANDOM.random((20, 2, 2))
    reach = int(2 * sigma)
    expected = np.empty_like(maps)
    for k in range(20):
        total, weights = np.zeros((2, 2)), 0.0
        for j in range(max(k - reach, 0), min(k + reach, 19) + 1):
            weight = np.exp(-((j - k) ** 2) / (2 * sigma**2))
            total, weights = total + weight * maps[j], weights + weight
        expected[k] = total / weights
    assert np.allclose(smooth(maps, sigma), expected, atol=1e-6)


def test_constant_maps_stay() -> None:
    maps = np.full((9, 1, 1), 0.3)
    assert np.allclose(smooth(maps, 1.5), maps)


def test_interpolation_is_numpys() -> None:
    keys = np.array([0.125, 0.375, 0.625, 2.0])
    values = np.array([0.0, 1.0, 0.5, 0.25])
    times = np.linspace(-1, 3, 50)
    ours = interpolate_in_time(values[:, None, None].astype(np.float16), keys, times)[:, 0, 0]
    assert ours.dtype == np.float32
    assert ours == pytest.approx(np.interp(times, keys, values), abs=1e-6)


def test_one_key_frame_stands_for_all() -> None:
    maps = RANDOM.random((1, 2, 2)).astype(np.float32)
    times = np.array([0.0, 5.0])
    assert np.array_equal(interpolate_in_time(maps, times[:1], times), np.repeat(maps, 2, axis=0))
