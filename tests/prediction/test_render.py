"""Pictures of masks, checked pixel by pixel against what the drawing is said to mean."""

import numpy as np
import pytest
import torch

from ecmvae.prediction import render

FRAME = np.full((60, 80, 3), 100, np.uint8)
MASK = np.zeros((60, 80), bool)
MASK[20:40, 30:60] = True
PROBABILITY = np.where(MASK, 0.9, 0.1).astype(np.float32)


def test_contour_tints_inside_and_leaves_the_outside() -> None:
    drawn = render.overlay(FRAME, PROBABILITY, mask=MASK)
    inner = drawn[22:38, 32:58]
    assert np.all(inner == np.round(100 * 0.55 + np.array(render.TINT) * 0.45))
    assert np.all(drawn[:18] == 100)
    assert np.all(drawn[20, 30:60] == render.TINT)  # the outline
    assert np.all(FRAME == 100)  # the input is left alone


def test_spotlight_dims_what_is_silent() -> None:
    drawn = render.overlay(FRAME, PROBABILITY, mask=MASK, style="spotlight")
    assert np.all(drawn[MASK] == 100)
    assert np.all(drawn[~MASK] == 30)


def test_heatmap_is_brighter_where_it_is_likelier() -> None:
    drawn = render.overlay(FRAME, PROBABILITY, mask=MASK, style="heatmap").astype(int).sum(axis=-1)
    assert drawn[MASK].min() > drawn[~MASK].max()


def test_heat_is_monotonous() -> None:
    ramp = render.heat(np.linspace(0, 1, 256, dtype=np.float32)[None])[0].astype(int)
    luminance = ramp @ (0.2126, 0.7152, 0.0722)
    assert np.all(np.diff(luminance) > -1.0)
    assert luminance[-1] > 220 > 20 > luminance[0]


@pytest.mark.parametrize(
    ("small", "full"), [((72, 128), (1080, 1920)), ((5, 7), (33, 17)), ((1, 1), (4, 3))]
)
def test_enlarging_is_torchs_bilinear(small: tuple[int, int], full: tuple[int, int]) -> None:
    values = torch.rand(1, 1, *small, generator=torch.manual_seed(0))
    expected = torch.nn.functional.interpolate(
        values, size=full, mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(
        render.enlarge(values[0, 0].numpy(), *full), expected.numpy(), atol=1e-4
    )


def test_heatmap_covers_by_probability() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    probability = rng.random((40, 50), dtype=np.float32)
    share = (0.15 + 0.5 * probability)[..., None]
    expected = frame * (1 - share) + render.heat(probability) * share
    drawn = render.overlay(frame, probability, mask=probability > 0.5, style="heatmap")
    # levels of 256: the colours are tables, rounded twice
    assert np.abs(drawn - expected).max() < 2.0


def test_cutout() -> None:
    picture = render.cutout(FRAME, MASK)
    assert np.all(picture[MASK] == (100, 100, 100, 255))
    assert np.all(picture[~MASK] == 0)


def test_loudness_strip_shows_the_newest_at_the_right() -> None:
    activity = np.concatenate([np.zeros(50), np.ones(50)])
    drawn = render.with_loudness_strip(FRAME, activity)
    assert np.all(drawn[:55] == 100)
    foot = drawn[55:]
    assert np.all(foot[:, 60:79] == (80, 220, 120))
    assert np.all(foot[:, :30] == 33)
