"""The pen against areas and curves of geometry."""

import numpy as np
import pytest

from ecmvae.data.faces.pen import Pen, darker, ellipse, mirrored, smooth

SQUARE = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
RED = (255, 0, 0)


def drawn(outline: np.ndarray, opacity: float = 1.0, **turned: object) -> np.ndarray:
    """Red of the picture, (200, 200), in [0, 1]."""
    pen = Pen(200, **{"scale": 1.0, "roll": 0.0, "shift": (0.0, 0.0), **turned})
    pen.fill(outline, RED, opacity)
    return np.asarray(pen.image)[..., 0] / 255


def test_areas_scale_and_turn_as_they_should() -> None:
    assert drawn(SQUARE).mean() == pytest.approx(0.25, abs=0.01)
    assert drawn(SQUARE, scale=0.5).mean() == pytest.approx(0.0625, abs=0.005)
    assert drawn(SQUARE, roll=30.0).mean() == pytest.approx(0.25, abs=0.01)
    assert drawn(SQUARE, opacity=0.5).max() == pytest.approx(0.5, abs=0.01)
    disc = drawn(ellipse(0.5, 0.5, 0.4, 0.2))
    assert disc.mean() == pytest.approx(np.pi * 0.4 * 0.2, rel=0.02)


def test_a_shift_moves_and_a_roll_is_clockwise() -> None:
    rows, columns = np.nonzero(drawn(SQUARE, shift=(0.1, -0.2)))
    assert (columns.mean() / 200, rows.mean() / 200) == pytest.approx((0.6, 0.3), abs=0.01)
    above = SQUARE * [0.2, 0.2] + [0.4, 0.1]  # above the middle
    rows, columns = np.nonzero(drawn(above, roll=90.0))
    assert columns.mean() > 150, "a quarter turn clockwise brings it to the right"
    assert rows.mean() == pytest.approx(100, abs=2)


def test_a_smooth_curve_goes_through_its_knots() -> None:
    knots = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, 0.0], [1.0, -0.5]])
    for closed in (True, False):
        curve = smooth(knots, closed=closed)
        assert len(curve) == (32 if closed else 25)
        for knot in knots:
            assert np.abs(curve - knot).sum(1).min() < 1e-12
    line = smooth([(0, 0), (1, 2), (2, 4), (3, 6)], closed=False)
    np.testing.assert_allclose(line[:, 1], 2 * line[:, 0], atol=1e-12)  # of a line, a line


def test_mirrored_outlines_are_symmetric_and_repeat_nothing_on_the_axis() -> None:
    outline = mirrored([(0.0, 1.0), (2.0, 0.5), (1.0, -1.0)])
    assert outline.tolist() == [[0, 1], [2, 0.5], [1, -1], [-1, -1], [-2, 0.5]]


def test_darker_and_lighter() -> None:
    assert darker((200, 100, 0), 0.5) == (100, 50, 0)
    assert darker((200, 100, 0), -0.5) == (228, 178, 128)
    assert darker((200, 100, 0), 0.0) == (200, 100, 0)
