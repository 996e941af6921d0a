"""Intervals against closed forms, exact cases and the bootstrap over pictures of `ecmvae.metrics`."""

import math

import numpy as np
import pytest

from ecmvae.metrics.by_picture import cluster_bootstrap
from ecmvae.study.intervals import Interval, over_seeds, over_seeds_and_clips


def test_over_seeds_is_students_t() -> None:
    # 0.2, 0.4, 0.6: sd 0.2; the 97.5 % quantile of t with 2 degrees of freedom is 4.302653 in every table.
    value, low, high = over_seeds([0.2, 0.4, 0.6])
    assert value == pytest.approx(0.4)
    assert high == pytest.approx(0.4 + 4.302653 * 0.2 / math.sqrt(3), abs=1e-6)
    assert value - low == pytest.approx(high - value)
    assert over_seeds([0.3]) == Interval(0.3, None, None)


def test_it_is_shown_in_a_few_characters() -> None:
    assert str(Interval(0.41234, 0.4, 0.5)) == "0.4123 [0.4000, 0.5000]"
    assert str(Interval(0.41234, None, None)) == "0.4123"


def test_a_constant_difference_is_certain() -> None:
    values = np.full((3, 7), -0.25)
    assert over_seeds_and_clips(values, list("abcdefg")) == pytest.approx((-0.25, -0.25, -0.25))


def test_one_seed_is_the_bootstrap_over_pictures() -> None:
    rng = np.random.default_rng(0)
    scores, pictures = np.repeat(rng.random(15), 4), [f"picture {k // 4}" for k in range(60)]
    theirs = cluster_bootstrap(scores, np.ones(60), pictures, resamples=20_000)
    ours = over_seeds_and_clips(scores[None], pictures, resamples=20_000)
    assert tuple(ours) == pytest.approx(tuple(theirs), abs=6e-3)
    alone = cluster_bootstrap(scores, np.ones(60), [str(k) for k in range(60)], resamples=20_000)
    # the pictures do matter
    assert ours.high - ours.low != pytest.approx(alone.high - alone.low, rel=0.05)


def test_two_seeds_that_disagree_on_every_clip() -> None:
    # The two seeds drawn are both the first, both the second (1/4 each) or one of each (1/2): quantiles 0 and 1.
    values = np.stack([np.zeros(50), np.ones(50)])
    assert over_seeds_and_clips(values, [str(k) for k in range(50)]) == (0.5, 0.0, 1.0)


def test_the_variances_of_seeds_and_clips_add() -> None:
    # For a_s + b_c the drawn mean has variance var(a) / S + var(b) / C: sums of independent draws.
    rng = np.random.default_rng(1)
    seeds, clips = rng.normal(0, 0.1, 40), rng.normal(0, 0.4, 300)
    value, low, high = over_seeds_and_clips(
        seeds[:, None] + clips, [str(k) for k in range(300)], resamples=20_000
    )
    half = 1.959964 * math.sqrt(seeds.var() / 40 + clips.var() / 300)
    assert value == pytest.approx(seeds.mean() + clips.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.03)


def test_a_single_seed_and_clip_have_no_interval() -> None:
    assert over_seeds_and_clips(np.array([[0.5, 0.7]]), ["same", "same"]) == (
        pytest.approx(0.6),
        None,
        None,
    )
