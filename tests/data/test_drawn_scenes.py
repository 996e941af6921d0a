"""Drawn scenes: the mask is where the unusual thing is, and nothing else differs."""

import pytest
import torch

from ecmvae.data.drawn_scenes import roads, tissue


def test_a_lesion_changes_the_pixels_of_its_mask_only():
    healthy, none = tissue(20, seed=3)
    ill, masks = tissue(20, lesions=True, seed=3)  # the same random numbers
    assert not none.any()
    change = (ill - healthy).abs()
    assert (masks.flatten(1).sum(1) >= 3).all()
    inside, outside = (
        change[masks.bool()],
        change[torch.nn.functional.max_pool2d(masks, 5, 1, 2) == 0],
    )
    assert inside.min() > 0.1
    assert outside.max() < 0.02


def test_an_obstacle_changes_the_pixels_of_its_mask_only():
    ordinary, (unusual, masks) = roads(20, seed=3)[0], roads(20, unusual="obstacle", seed=3)
    change = (unusual - ordinary).abs().amax(1, keepdim=True)
    assert (masks.flatten(1).sum(1) > 0).all()
    assert change[torch.nn.functional.max_pool2d(masks, 5, 1, 2) == 0].max() < 0.05
    assert unusual.movedim(1, -1)[masks[:, 0].bool()].mean() < 0.3  # dark


def test_fog_is_everywhere_and_takes_the_contrast():
    ordinary, (foggy, masks) = roads(20, seed=3)[0], roads(20, unusual="fog", seed=3)
    assert masks.all()
    assert (foggy.flatten(1).std(1) < 0.5 * ordinary.flatten(1).std(1)).all()


@pytest.mark.parametrize("draw", [tissue, roads])
def test_seeded_and_of_any_size(draw):
    first, again, other = (draw(3, size=24, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape[-2:] == (24, 24)
    assert first.min() >= 0
    assert first.max() <= 1


def test_another_word():
    with pytest.raises(ValueError, match="'', 'fog' or 'obstacle'"):
        roads(1, unusual="snow")
