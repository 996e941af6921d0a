"""Smoothing and interpolation over time against SciPy, NumPy and closed forms."""

import numpy as np
import pytest
import torch

from ecmvae.prediction.temporal import interpolate_in_time, smooth, smoothing_reach


def test_no_smoothing_is_the_identity() -> None:
    maps = torch.rand(7, 2, 3)
    assert torch.equal(smooth(maps, 0.0), maps)
    assert torch.equal(smooth(maps, 0.4), maps)  # the Gaussian reaches no neighbour
    assert smoothing_reach(1.0) == 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.4])
def test_smoothing_is_a_cut_gaussian(sigma: float) -> None:
    maps = torch.rand(20, 2, 2, dtype=torch.float64)
    reach = int(2 * sigma)
    expected = torch.empty_like(maps)
    for k in range(20):
        total, weights = torch.zeros(2, 2, dtype=torch.float64), 0.0
        for j in range(max(k - reach, 0), min(k + reach, 19) + 1):
            weight = np.exp(-((j - k) ** 2) / (2 * sigma**2))
            total, weights = total + weight * maps[j], weights + weight
        expected[k] = total / weights
    assert torch.allclose(smooth(maps, sigma), expected, atol=1e-6)


def test_constant_maps_stay() -> None:
    maps = torch.full((9, 1, 1), 0.3)
    assert torch.allclose(smooth(maps, 1.5), maps)


def test_interpolation_is_numpys() -> None:
    keys = torch.tensor([0.125, 0.375, 0.625, 2.0], dtype=torch.float64)
    values = torch.tensor([0.0, 1.0, 0.5, 0.25])
    times = torch.linspace(-1, 3, 50, dtype=torch.float64)
    ours = interpolate_in_time(values[:, None, None].half(), keys, times)[:, 0, 0]
    assert ours.dtype == torch.float32
    assert ours.numpy() == pytest.approx(np.interp(times.numpy(), keys.numpy(), values.numpy()), abs=1e-6)


def test_one_key_frame_stands_for_all() -> None:
    maps = torch.rand(1, 2, 2)
    times = torch.tensor([0.0, 5.0], dtype=torch.float64)
    assert torch.equal(interpolate_in_time(maps, times[:1], times), maps.expand(2, 2, 2))
