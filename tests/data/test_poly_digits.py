"""Five pictures of one digit: the right classes, the manner of each modality, and one answer for one seed."""

import pytest
import torch

from ecmvae.data.mnist import EVENT_SHAPES, load_images
from ecmvae.data.poly_digits import SIZE, STYLES, poly_digits


@pytest.fixture
def blocks():
    """Digits that tell which they are: class c is white in its row c only, image i has the brightness (i + 1) / 40."""
    labels = torch.arange(40) % 8
    digits = torch.zeros(40, 1, 8, 8)
    for number, label in enumerate(labels):
        digits[number, 0, label] = (number + 1) / 40
    return digits, labels


def test_all_five_show_the_class_by_digits_of_their_own(blocks):
    pictures, labels = poly_digits(*blocks, 2000, seed=0)
    assert pictures.shape == (2000, len(STYLES), 3, SIZE, SIZE)
    assert labels.bincount().min() > 180
    # Modality 0 is white on a background below 0.6: bright digits give their row away, in steps of two pixels.
    brightest = pictures[:, 0].amin(1).amax(-1)  # (n, H)
    clear = brightest.amax(1) > 0.75
    assert clear.float().mean() > 0.1
    assert torch.equal(brightest[clear].argmax(1) // 2, labels[clear])
    # Each modality draws its digit for itself: two pictures of a sample seldom have one brightness.
    alike = (brightest.amax(1) - pictures[:, 3].sub(0.5).abs().amax((1, 2, 3))).abs() < 1e-3
    assert alike.float().mean() < 0.5


def test_the_complement_and_an_empty_digit_show_the_background():
    nothing, everything = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    ground, _ = poly_digits(nothing, torch.zeros(1, dtype=torch.long), 3, seed=4)
    covered, _ = poly_digits(everything, torch.zeros(1, dtype=torch.long), 3, seed=4)
    assert ground.min() >= 0
    assert ground.max() <= 0.6 + 1e-6
    torch.testing.assert_close(covered[:, 3], 1.0 - ground[:, 3])
    torch.testing.assert_close(covered[:, 0], torch.ones(3, 3, SIZE, SIZE))
    torch.testing.assert_close(covered[:, 4], ground[:, 4])  # a full square has no outline
    assert ground[0].flatten(1).std(0).mean() > 0.05  # five backgrounds
    assert (ground[0, 0] - ground[1, 0]).abs().max() > 0.05  # cut at random


def test_a_seed_is_one_answer(blocks):
    first, second, other = (poly_digits(*blocks, 20, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_set_keeps_training_and_test_digits_apart():
    images = load_images("poly_digits")
    assert images.train_images.shape == (6000, *EVENT_SHAPES["poly_digits"])
    assert images.test_images.shape == (1000, *EVENT_SHAPES["poly_digits"])
    low, high = torch.aminmax(images.train_images)
    assert low >= 0
    assert high <= 1
    assert images.test_labels.bincount(minlength=10).min() > 50
