"""Numbers of things over time, where the right answer was drawn."""

import itertools
import tracemalloc

import numpy as np
import pytest

from ecmvae.prediction import tracking
from ecmvae.prediction.tracking import MAX_GAP, Tracker

SIDE = 64
KEYS = 4  # a second


def square(row: float, column: float, size: int = 12, width: int | None = None) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    top, left = round(row), round(column)
    mask[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + (width or size), 0)] = True
    return mask


def run(
    tracker: Tracker, frames: list[list[np.ndarray]], kinds: list[list[int]] | None = None
) -> list[list[int]]:
    numbers = []
    for place, masks in enumerate(frames):
        kind = np.array(kinds[place] if kinds else [1] * len(masks), np.uint8)
        stacked = np.stack(masks) if masks else np.zeros((0, SIDE, SIDE), bool)
        numbers.append(tracker.update(place / KEYS, stacked, kind).tolist())
    return numbers


def test_things_keep_their_numbers_whatever_their_order_is() -> None:
    still, moving = [square(5, 5)] * 6, [square(40, 4 + 6 * step) for step in range(6)]
    frames = [
        [a, b] if step % 2 else [b, a]
        for step, (a, b) in enumerate(zip(still, moving, strict=True))
    ]
    assert run(Tracker(), frames) == [[1, 2], [2, 1]] * 3


@pytest.mark.parametrize("speed", [2, 3, 6, 8])
def test_two_of_one_class_cross(speed: int) -> None:
    """The one that goes left is in front: the other is partly hidden, then wholly, then partly again."""
    frames, truth = [], []
    for step in range(48 // speed + 1):
        right, left = square(26, 4 + speed * step), square(26, 52 - speed * step)
        visible = right & ~left
        frames.append([left, visible] if visible.any() else [left])
        truth.append([1, 2] if visible.any() else [1])
    assert [1] in truth
    assert run(Tracker(), frames) == truth


def test_two_of_one_class_cross_without_touching() -> None:
    frames = [[square(20, 2 + 8 * step, 8), square(30, 50 - 8 * step, 8)] for step in range(7)]
    mixed = [each[::-1] if step % 2 else each for step, each in enumerate(frames)]
    assert run(Tracker(), mixed) == [[1, 2], [2, 1], [1, 2], [2, 1], [1, 2], [2, 1], [1, 2]]


def test_new_things_and_vanished_ones() -> None:
    one, two, three = square(2, 2), square(2, 50), square(50, 2)
    frames = [[one], [one, two], [two], [two, three], [three, one]]
    assert run(Tracker(), frames) == [[1], [1, 2], [2], [2, 3], [3, 1]]


@pytest.mark.parametrize(("gap", "same"), [(1, True), (7, True), (9, False)])
def test_a_gap_is_bridged_if_it_is_short(gap: int, same: bool) -> None:
    """It goes on moving while nobody sees it."""
    assert pytest.approx(8 / KEYS) == MAX_GAP
    before = [[square(20, 2 + 3 * step)] for step in range(3)]
    after = [[square(20, 2 + 3 * (2 + gap))]]
    numbers = run(Tracker(), before + [[]] * (gap - 1) + after)
    assert numbers[:3] == [[1]] * 3
    assert numbers[-1] == ([1] if same else [2])


def test_it_goes_on_as_it_moved_last() -> None:
    """Right at first, then down; then hidden."""
    way = [(4, 4 + 5 * step) for step in range(5)] + [(4 + 5 * step, 24) for step in range(1, 6)]
    frames = [[square(*each)] for each in way] + [[]] * 4 + [[square(29 + 5 * 5, 24)]]
    assert run(Tracker(), frames)[-1] == [1]


def test_it_is_found_where_it_was_if_it_stopped_while_hidden() -> None:
    frames = [[square(20, 2 + 4 * step)] for step in range(4)] + [[]] * 5 + [[square(20, 14)]]
    assert run(Tracker(), frames)[-1] == [1]


def test_another_class_is_another_thing() -> None:
    here = square(20, 20)
    assert run(Tracker(), [[here], [here], [here, here]], [[1], [2], [2, 1]]) == [[1], [2], [2, 1]]


def test_a_small_and_fast_thing_is_found_by_its_place() -> None:
    frames = [[square(30, 2 + 7 * step, 6)] for step in range(8)]  # no two masks overlap
    assert run(Tracker(), frames) == [[1]] * 8


def test_a_far_away_one_is_new() -> None:
    assert run(Tracker(), [[square(2, 2)], [square(50, 50)]]) == [[1], [2]]


def test_an_empty_mask_is_a_thing_of_that_frame_alone() -> None:
    tracker = Tracker()
    assert run(tracker, [[np.zeros((SIDE, SIDE), bool), square(2, 2)], [square(3, 3)]]) == [
        [1, 2],
        [2],
    ]
    assert len(tracker) == 1


def test_the_matching_has_the_largest_sum_of_all() -> None:
    gains = np.random.default_rng(0).random((5, 4))
    best = max(
        sum(gains[row, column] for column, row in enumerate(rows))
        for rows in itertools.permutations(range(5), 4)
    )
    assert sum(gains[pair] for pair in tracking._assign(gains, 0.0)) == pytest.approx(best)


def test_overlaps_are_intersections_over_unions() -> None:
    generator = np.random.default_rng(1)
    ours, theirs = generator.random((3, 9, 9)) > 0.5, generator.random((2, 9, 9)) > 0.3
    wanted = [[(a & b).sum() / (a | b).sum() for b in theirs] for a in ours]
    np.testing.assert_allclose(tracking._overlaps(ours, theirs), wanted, rtol=1e-6)


def test_a_mask_is_moved_by_whole_pixels() -> None:
    mask = square(10, 12)
    assert np.array_equal(tracking._shifted(mask, 5, -8), square(15, 4))
    assert tracking._shifted(mask, 0, -14).sum() == 12 * 10  # the rest is outside
    assert not tracking._shifted(mask, SIDE, 0).any()


def test_memory_does_not_grow_with_the_video() -> None:
    """A new thing in every second key frame: hundreds of numbers, and a handful that is remembered."""
    generator = np.random.default_rng(0)
    tracker, sizes, kept = Tracker(), [], []
    tracemalloc.start()
    for step in range(600):
        mask = square(*generator.integers(0, 50, 2))[None]
        tracker.update(
            step / KEYS,
            mask if step % 2 else mask[:0],
            np.ones(len(mask) if step % 2 else 0, np.uint8),
        )
        kept.append(len(tracker))
        if step % 100 == 99:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert tracker._count > 80
    assert max(kept) <= MAX_GAP * KEYS
    assert max(sizes[1:]) < sizes[0] + 20 * SIDE * SIDE
