"""Masks read the same from every PIL mode they may have been saved in."""

import numpy as np
import pytest
from PIL import Image

from ecmvae.data.images import read_indices, read_mask, read_rgb, sounding_masks
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
