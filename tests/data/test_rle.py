"""Run-length masks against pycocotools, for any mask; damaged ones are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from ecmvae.data.rle import compress, decode, run_lengths
from ecmvae.errors import UserError

MASKS = arrays(np.bool_, some.tuples(some.integers(1, 40), some.integers(1, 40)))


@given(MASKS)
def test_any_mask_is_written_as_pycocotools_writes_it(mask: np.ndarray) -> None:
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    assert compress(run_lengths(mask)) == theirs["counts"].decode()


@given(MASKS, some.booleans())
def test_any_mask_is_read_back(mask: np.ndarray, compressed: bool) -> None:
    runs = run_lengths(mask)
    segmentation = {"size": list(mask.shape), "counts": compress(runs) if compressed else runs}
    assert np.array_equal(decode(segmentation, mask.shape, "a.json"), mask)


@given(MASKS)
def test_what_pycocotools_writes_is_read(mask: np.ndarray) -> None:
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    segmentation = {"size": theirs["size"], "counts": theirs["counts"].decode()}
    assert np.array_equal(decode(segmentation, mask.shape, "a.json"), mask)


def mask_or_message(counts: object) -> np.ndarray | str:
    try:
        return decode({"size": [5, 7], "counts": counts}, (5, 7), "a.json")
    except UserError as error:
        return str(error)


@given(some.text(some.characters(min_codepoint=32, max_codepoint=130), max_size=40))
@settings(max_examples=300)
def test_any_text_is_a_mask_of_the_right_size_or_one_line(text: str) -> None:
    found = mask_or_message(text)
    assert found.shape == (5, 7) if isinstance(found, np.ndarray) else found.isprintable()


@given(
    some.lists(
        some.one_of(some.integers(-5, 2**70), some.floats(), some.none(), some.text()), max_size=8
    )
)
def test_any_list_is_a_mask_of_the_right_size_or_one_line(runs: list) -> None:
    found = mask_or_message(runs)
    if isinstance(found, np.ndarray):
        assert found.shape == (5, 7)
        assert found.sum() == sum(runs[1::2])
    else:
        assert found.startswith("a.json: ")


@pytest.mark.parametrize("counts", [[34], [36], [35, 1], [-1, 36], ["35"], [35.0], None, "", "o"])
def test_runs_that_do_not_fill_the_mask_are_refused(counts: object) -> None:
    with pytest.raises(UserError, match=r"a\.json: "):
        decode({"size": [5, 7], "counts": counts}, (5, 7), "a.json")


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (90, 120), (300, 2000)])
def test_compressed_run_lengths_are_cocos(shape: tuple[int, int]) -> None:
    """The same text as pycocotools writes, for sparse, dense, empty, full and blocky masks."""
    rng = np.random.default_rng(0)
    blocks = np.kron(
        rng.random((6, 6)) > 0.5, np.ones((shape[0] // 6 + 1, shape[1] // 6 + 1), bool)
    )
    masks = [rng.random(shape) > share for share in (0.001, 0.5, 0.999)]
    for mask in [
        *masks,
        np.zeros(shape, bool),
        np.ones(shape, bool),
        blocks[: shape[0], : shape[1]],
    ]:
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert compress(run_lengths(mask)) == expected
