"""Outlines, against their definition."""

import numpy as np

from ecmvae.data.collage.montage import outline


def test_outline_is_what_touches_the_outside():
    mask = np.random.default_rng(0).random((12, 15)) < 0.7
    drawn = outline(mask)
    for y in range(12):
        for x in range(15):
            around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            touches = any(0 <= v < 12 and 0 <= u < 15 and not mask[v, u] for v, u in around)
            assert drawn[y, x] == (mask[y, x] and touches)
