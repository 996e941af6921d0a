"""Masks read the same from every PIL mode they may have been saved in."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import to_tensor

from ecmvae.data.images import (
    grey_pixels,
    read_indices,
    read_mask,
    read_released_mask,
    read_rgb,
    sounding_masks,
)
from ecmvae.errors import UserError

TRUTH = np.zeros((6, 8), bool)
TRUTH[2:4, 3:7] = True
GREY = TRUTH.astype(np.uint8) * 255


def palette(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(colours)
    assert image.mode == "P"
    return image


IMAGES = {
    "1": Image.fromarray(TRUTH),
    "L": Image.fromarray(GREY),
    "L with 1": Image.fromarray(TRUTH.astype(np.uint8)),
    "LA": Image.fromarray(GREY).convert("LA"),
    "RGB": Image.fromarray(GREY).convert("RGB"),
    "RGB red": Image.fromarray(np.stack([GREY, 0 * GREY, 0 * GREY], axis=2)),
    "RGBA": Image.fromarray(GREY).convert("RGBA"),
    "I;16": Image.fromarray(TRUTH.astype(np.uint16) * 65535),
    "P index 1": palette(TRUTH, [0, 0, 0, 255, 255, 255]),
    "P index 1 without colours": palette(TRUTH, [0, 0, 0] * 2),
    "P grey ramp": palette(GREY, [v for grey in range(256) for v in (grey,) * 3]),
    "P by PIL": Image.fromarray(GREY).convert("RGB").convert("P"),
    "P white first": palette(~TRUTH, [255, 255, 255, 0, 0, 0]),
}


@pytest.mark.parametrize("name", IMAGES)
def test_any_mode(tmp_path, name):
    IMAGES[name].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), TRUTH)


RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # 0 to 235
SOFT = Image.fromarray(np.where(RAMP > 200, 255, RAMP).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("name", ["1", "L", "RGB", "P grey ramp", "soft"])
def test_the_released_rule_is_what_pillow_and_torchvision_make_of_a_mask(tmp_path, name, mode):
    """AVSBench's loaders convert a mask to mode 1 (S4) or P (MS3) and take torchvision's tensor of that."""
    (IMAGES | {"soft": SOFT})[name].save(tmp_path / "mask.png")
    theirs = to_tensor(Image.open(tmp_path / "mask.png").convert(mode))[0].numpy()
    ours = read_released_mask(tmp_path / "mask.png", mode).astype(np.float32) / 255
    np.testing.assert_array_equal(ours, theirs)
    assert (mode == "1") <= (set(np.unique(ours)) <= {0.0, 1.0})
    if name == "soft":  # where there is grey the rules part
        assert (ours != read_mask(tmp_path / "mask.png")).any()
    elif name != "RGB" or mode == "1":  # white in colours becomes index 225
        np.testing.assert_array_equal(ours, TRUTH)


def test_a_mask_that_would_teach_nothing_is_refused(tmp_path):
    IMAGES["P index 1"].save(tmp_path / "mask.png")
    with pytest.raises(
        UserError, match=r"mask\.png: .* brightest pixel is 1 of 255 .* set data\.mask_rule to any"
    ):
        read_released_mask(tmp_path / "mask.png", "P")
    Image.new("L", (8, 6)).save(tmp_path / "empty.png")
    assert not read_released_mask(tmp_path / "empty.png", "P").any()


def test_grey_pixels_are_counted_in_any_mode(tmp_path):
    for name, image in IMAGES.items():
        image.save(tmp_path / "mask.png")
        expected = {"L with 1": 8, "RGB red": 8}.get(name, 0)  # red is neither black nor white
        assert grey_pixels(tmp_path / "mask.png") == expected, name
    SOFT.save(tmp_path / "mask.png")
    assert grey_pixels(tmp_path / "mask.png") == 40  # 5 to 200 in steps of 5


def test_indices_and_rgb(tmp_path):
    numbers = np.arange(48, dtype=np.uint8).reshape(6, 8) % 4
    palette(numbers, [9, 9, 9] * 4).save(tmp_path / "objects.png")
    np.testing.assert_array_equal(read_indices(tmp_path / "objects.png"), numbers)
    IMAGES["RGB red"].save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "colour.png")[..., 0], GREY)
    with pytest.raises(UserError, match="one number a pixel"):
        read_indices(tmp_path / "colour.png")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        read_mask(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png: cannot be read as a picture"):
        read_rgb(tmp_path / "text.png")
    IMAGES["RGB"].save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"cut\.png: cannot be read as a picture"):
        read_rgb(tmp_path / "cut.png")


def test_sounding_masks_by_hand():
    objects = np.array([[[0, 1], [2, 3]], [[3, 3], [1, 0]]], np.uint8)
    activity = np.array([[True, False, True], [False, True, False]])
    assert sounding_masks(objects, activity).tolist() == [
        [[False, True], [False, True]],
        [[False, False], [False, False]],
    ]
