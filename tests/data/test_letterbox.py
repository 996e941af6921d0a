"""There and back again: a picture in the square and a mask at source size."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.transforms import ClipTransform
from ecmvae.data.video import SourceFrame
from ecmvae.prediction.render import enlarge
from ecmvae.visual.normalisation import IMAGENET

ONE_LEVEL = 1.01 / 255 / min(IMAGENET.std)  # two libraries round differently


def shown(pixels: np.ndarray) -> SourceFrame:
    return SourceFrame(0, 0.0, 0.1, pixels)


@pytest.mark.parametrize(
    ("height", "width", "inner"),
    [(720, 1280, (72, 128)), (1280, 720, (128, 72)), (9, 9, (128, 128)), (1, 8192, (1, 128))],
)
def test_aspect_is_kept_and_the_picture_centred(
    height: int, width: int, inner: tuple[int, int]
) -> None:
    box = Letterbox(height=height, width=width, side=128)
    assert box.inner == inner
    frame = np.full((height, width, 3), 255, np.uint8)
    square = torch.from_numpy(box.fit(shown(frame)))
    assert square.shape == (3, 128, 128)
    white = IMAGENET(torch.full((3, 1, 1), 255, dtype=torch.uint8))[:, 0, 0]
    covered = torch.isclose(square, white[:, None, None], atol=1e-5).all(dim=0)
    assert covered.sum() == inner[0] * inner[1]
    assert torch.all(square[:, ~covered] == 0)  # the ImageNet mean
    rows, columns = torch.nonzero(covered, as_tuple=True)
    assert abs(int(rows.min()) - (127 - int(rows.max()))) <= 1
    assert abs(int(columns.min()) - (127 - int(columns.max()))) <= 1


def test_a_mask_finds_its_way_back() -> None:
    box = Letterbox(height=90, width=160, side=64)
    truth = np.zeros((90, 160), bool)
    truth[30:60, 100:150] = True
    frame = np.repeat(truth[..., None] * np.uint8(255), 3, axis=2)
    square = torch.from_numpy(box.fit(shown(frame)))
    bright = (square[0] > 0.5).float()
    back = enlarge(box.crop(bright.numpy()), 90, 160) > 0.5
    assert (back & truth).sum() / (back | truth).sum() > 0.85


def test_squashing_is_the_training_transform() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    box = Letterbox(height=45, width=80, side=32, squash=True)
    assert np.allclose(
        box.fit(shown(frame)), IMAGENET(ClipTransform(32)(frame[None])[0])[0], atol=ONE_LEVEL
    )


def test_square_pictures_are_the_training_transform_too() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    fitted = Letterbox(height=70, width=70, side=32).fit(shown(frame))
    assert np.allclose(fitted, IMAGENET(ClipTransform(32)(frame[None])[0])[0], atol=ONE_LEVEL)


def test_anamorphic_video_is_letterboxed_as_it_is_shown() -> None:
    box = Letterbox(height=576, width=720, side=128, sample_aspect=Fraction(64, 45))  # 16:9 DVD
    assert box.inner == (72, 128)


@given(
    some.integers(1, 20_000),
    some.integers(1, 20_000),
    some.integers(1, 640),
    some.fractions(Fraction(1, 8), Fraction(8)),
    some.booleans(),
)
def test_any_picture_fits_into_the_square(
    height: int, width: int, side: int, aspect: Fraction, squash: bool
) -> None:
    box = Letterbox(height=height, width=width, side=side, squash=squash, sample_aspect=aspect)
    (top, left), (inner_height, inner_width) = box.corner, box.inner
    assert max(inner_height, inner_width) == side
    assert min(inner_height, inner_width) >= 1
    for start, size in ((top, inner_height), (left, inner_width)):
        assert abs(start - (side - start - size)) <= 1  # bars of the same width, to a pixel
    if not squash and min(inner_height, inner_width) > 1:
        shown_aspect = width * float(aspect) / height
        assert abs(inner_width - shown_aspect * inner_height) <= 0.5 * max(1, shown_aspect) + 1e-6
    maps = np.arange(side * side).reshape(side, side)
    assert box.crop(maps).shape == box.inner
    assert box.crop(maps)[0, 0] == top * side + left
