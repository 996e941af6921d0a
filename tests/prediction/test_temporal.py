"""Smoothing and interpolation over time against SciPy, NumPy and closed forms."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from ecmvae.prediction.key_frames import interleaved_clips
from ecmvae.prediction.temporal import (
    KeyMaps,
    interpolate_in_time,
    smooth,
    smoothed,
    smoothing_reach,
)

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


@given(
    some.lists(some.integers(1, 9), min_size=1, max_size=6),
    some.floats(0, 3),
    some.integers(0, 2**32 - 1),
)
def test_smoothing_block_by_block_is_smoothing_at_once(
    lengths: list[int], sigma: float, seed: int
) -> None:
    """However a video is cut into blocks: every key frame once, each as if the whole video were there."""
    count = sum(lengths)
    maps = np.random.default_rng(seed).random((count, 2, 3), dtype=np.float32)
    times, ends = np.arange(count) / 4, np.cumsum(lengths)
    blocks = [
        KeyMaps(times[end - length : end], maps[end - length : end], None, end == count)
        for end, length in zip(ends.tolist(), lengths, strict=True)
    ]
    seen_times, seen = [], []
    for number, block in enumerate(smoothed(blocks, sigma)):
        # a block begins with the key frame that the one before ended with
        first = 1 if number else 0
        seen_times += block.times[first:].tolist()
        seen.append(block.probabilities[first:])
    assert seen_times == times.tolist()
    np.testing.assert_allclose(np.concatenate(seen), smooth(maps, sigma), atol=1e-5)


@given(
    some.lists(some.floats(1e-3, 5), min_size=1, max_size=8),
    some.lists(some.floats(-3, 50), min_size=1, max_size=8),
    some.floats(0, 1e5),
)
def test_interpolation_stays_between_its_neighbours(
    gaps: list[float], asked: list[float], start: float
) -> None:
    """Any key times, also hours into a video: itself at a key frame, between its two neighbours elsewhere."""
    key_times = start + np.cumsum(gaps)
    assume((np.diff(key_times) > 0).all())
    maps = np.sin(np.arange(len(gaps), dtype=np.float32) * 2)[:, None, None]
    times = np.concatenate([start + np.array(asked), key_times])
    values = interpolate_in_time(maps, key_times, times)[:, 0, 0]
    # a + 1 * (b - a) rounds
    np.testing.assert_allclose(values[len(asked) :], maps[:, 0, 0], atol=1e-6)
    for time, value in zip(times, values, strict=True):
        right = int(np.searchsorted(key_times, time).clip(0, len(gaps) - 1))
        neighbours = maps[max(right - 1, 0) : right + 1, 0, 0]
        assert neighbours.min() - 1e-6 <= value <= neighbours.max() + 1e-6


@given(some.integers(1, 200), some.integers(1, 12), some.integers(1, 4), some.integers(1, 5))
def test_every_key_frame_is_in_a_clip(count: int, num_frames: int, stride: int, batch: int) -> None:
    tables = list(interleaved_clips(count, num_frames, stride, batch))
    assert set(np.concatenate([table.ravel() for table in tables]).tolist()) == set(range(count))
    for table in tables:
        assert len(table) <= batch
        assert table.shape[1] <= num_frames
        assert (np.diff(table, axis=1) == stride).all()
        if count >= num_frames * stride:
            assert table.shape[1] == num_frames
