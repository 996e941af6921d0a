"""Intervals by picture against SciPy's bootstrap, closed forms and a loop."""

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.metrics.by_picture import ByPicture, Interval, cluster_bootstrap
from ecmvae.metrics.clip_sums import ClipSums


def test_clusters_of_one_clip_are_the_ordinary_bootstrap() -> None:
    values = np.random.default_rng(5).random(30)
    ours = cluster_bootstrap(
        values, np.ones(30), [f"{k:02}" for k in range(30)], resamples=500, seed=7
    )
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(7),
        vectorized=True,
    ).confidence_interval
    assert ours == pytest.approx((values.mean(), theirs.low, theirs.high))


def test_repeated_clips_of_a_picture_add_nothing() -> None:
    """Ten copies of every clip: the interval by clip shrinks by the root of ten, the one by picture not at all."""
    values = np.random.default_rng(1).random(12)
    pictures = [f"{k:02}" for k in range(12)]
    once = cluster_bootstrap(values, np.ones(12), pictures)
    ten_times = cluster_bootstrap(values.repeat(10), np.ones(120), np.repeat(pictures, 10).tolist())
    assert ten_times == pytest.approx(once)
    by_clip = cluster_bootstrap(values.repeat(10), np.ones(120), [f"{k:03}" for k in range(120)])
    assert (by_clip.high - by_clip.low) * np.sqrt(10) == pytest.approx(
        once.high - once.low, rel=0.1
    )


def test_the_width_is_that_of_the_normal_approximation() -> None:
    rng = np.random.default_rng(2)
    means = rng.normal(size=200)
    values = np.concatenate([np.full(4, mean) for mean in means])
    interval = cluster_bootstrap(
        values, np.ones(800), [str(k) for k in np.arange(200).repeat(4)], resamples=4000
    )
    assert interval.high - interval.low == pytest.approx(
        2 * 1.96 * means.std() / np.sqrt(200), rel=0.05
    )


def test_one_picture_has_no_interval_and_nothing_has_no_value() -> None:
    assert cluster_bootstrap(np.array([0.2, 0.6]), np.ones(2), ["a", "a"]) == (
        pytest.approx(0.4),
        None,
        None,
    )
    assert cluster_bootstrap(np.zeros(2), np.zeros(2), ["a", "b"]) is None
    # A clip that is not scored is left out together with its picture.
    assert cluster_bootstrap(np.array([3.0, 0.0]), np.array([4.0, 0.0]), ["a", "b"]) == (
        0.75,
        None,
        None,
    )
    assert str(Interval(0.5, 0.25, 0.75)) == ".500 [.25-.75]"
    assert str(Interval(1.0, 1.0, 1.0)) == "1.000 [1.00-1.00]"
    assert str(Interval(-0.4082, -0.56, 0.25)) == "-0.408 [-0.56 to .25]"
    assert str(Interval(0.5, None, None)) == ".500"


def test_the_metric_by_hand() -> None:
    """Three clips of one frame, two objects of two pixels each; object 1 sounds."""
    objects = torch.tensor([[[1, 1], [2, 2]]]).expand(3, 1, 2, 2)
    masks = (objects == 1).float().unsqueeze(2)
    shown = torch.tensor([[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [1, 1]]]).reshape(
        3, 1, 1, 2, 2
    )
    logits = shown * 20.0 - 10
    sounding = torch.tensor([[[True, False]]]).expand(3, 1, 2)
    metric = ByPicture()
    for part in (slice(0, 2), slice(2, 3)):
        sums = ClipSums.measure(logits[part], masks[part])
        names = (("dog", "cow", "cow")[part], ("bark", "moo", "low")[part])
        metric.update(sums, *names, logits[part], objects[part], sounding[part])
    found = metric.compute()
    assert found[:3] == (2, 3, 3)
    assert found.miou.value == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.right_of_two.value == pytest.approx(2 / 3)
    # Two pictures: a bootstrap sample is dog twice (1), cow twice (1/4) or one of each (1/2).
    assert found.miou[1:] == pytest.approx((0.25, 1.0))
    assert found.right_of_two[1:] == pytest.approx((0.5, 1.0))
