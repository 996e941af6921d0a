"""The first colours as the development kit of PASCAL VOC prints them."""

import numpy as np

from ecmvae.data.palette import voc_palette

FIRST = [
    (0, 0, 0),
    (128, 0, 0),
    (0, 128, 0),
    (128, 128, 0),
    (0, 0, 128),
    (128, 0, 128),
    (0, 128, 128),
    (128, 128, 128),
    (64, 0, 0),
    (192, 0, 0),
    (64, 128, 0),
]


def test_the_colours_are_those_of_pascal_voc() -> None:
    palette = voc_palette(256)
    assert [tuple(map(int, color)) for color in palette[:11]] == FIRST
    assert tuple(map(int, palette[20])) == (0, 64, 128)
    assert tuple(map(int, palette[255])) == (224, 224, 192)
    assert len(np.unique(palette, axis=0)) == 256
