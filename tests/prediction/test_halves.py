"""Half precision: the bits of NumPy's own conversion, also in the middle between two halves."""

import numpy as np

from ecmvae.prediction.halves import from_half, to_half


def test_every_half_in_reach_and_what_lies_between_two() -> None:
    halves = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = (halves[1:] + halves[:-1]) / 2
    singles = np.concatenate([halves, middles]).astype(np.float32)
    below, above = (np.nextafter(singles, np.float32(end)) for end in (0, 1))
    values = np.concatenate([singles, below, above, np.float32([1e-45, 1e-40, 1e-10])])[None]
    wanted = values.astype(np.float16)
    assert np.array_equal(to_half(values).view(np.uint16), wanted.view(np.uint16))


def test_maps_of_any_layout() -> None:
    maps = np.random.default_rng(0).random((3, 5, 7), np.float32)
    for each in (maps, maps[:, 1:4, ::2], maps.transpose(2, 1, 0), maps[:0], maps.astype(float)):
        assert np.array_equal(to_half(each), each.astype(np.float16))


def test_back_to_32_bits() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    assert np.array_equal(from_half(every), every.astype(np.float32), equal_nan=True)
    assert np.array_equal(from_half(every[:100:3, ::5]), every[:100:3, ::5].astype(np.float32))
    assert from_half(np.ones(3)).dtype == np.float32
