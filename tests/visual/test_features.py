"""Features of pictures: those of the network's own layers, whatever the size or the channels of the pictures."""

import pytest
import torch
from sklearn.datasets import load_sample_image

from ecmvae.errors import UserError
from ecmvae.vae.frechet import quality_report
from ecmvae.visual.features import PictureFeatures


@pytest.fixture(scope="module")
def features():
    return PictureFeatures(size=64)


def test_features_are_what_the_last_layer_sees(features):
    images = torch.rand(2, 3, 64, 64)
    found = features(images)
    assert found.shape == (2, features.width) == (2, 1280)
    last = features.network.get_classifier()
    torch.testing.assert_close(last(found), features.logits(images))
    assert features.logits(images).shape == (2, 1000)


@pytest.mark.parametrize(("picture", "class_number"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_the_classifier_knows_a_palace_and_a_daisy(picture, class_number):
    """Weights, normalisation and resizing are those of the training: ImageNet's own numbers of the two classes."""
    pixels = torch.from_numpy(load_sample_image(picture).copy())[:, 106:533]
    logits = PictureFeatures().logits(pixels.permute(2, 0, 1)[None] / 255)
    assert logits.argmax(1).item() == class_number


def test_grey_and_small_pictures_are_brought_to_the_networks_size(features):
    grey = torch.rand(1, 1, 28, 28)
    assert torch.equal(features(grey), features(grey.expand(-1, 3, -1, -1)))
    assert features.prepared(grey).shape == (1, 3, 64, 64)
    white = features.prepared(torch.ones(1, 3, 64, 64))
    torch.testing.assert_close(
        white[0, :, 0, 0], (1 - features.mean[:, 0, 0]) / features.std[:, 0, 0]
    )


def test_noise_is_farther_from_pictures_than_their_blurred_copies(features):
    grid = torch.linspace(0, 1, 32)
    shapes = torch.stack(
        [
            ((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2 < 0.05).float()
            for x, y in torch.rand(40, 2)
        ]
    )
    real, other = shapes[:20, None], shapes[20:, None]
    near = quality_report(real, other, features, k=3)
    far = quality_report(real, torch.rand(20, 1, 32, 32), features, k=3)
    assert near.fid < 0.5 * far.fid
    assert near.network == "efficientnet_lite0 (package, 64 px)"
    assert far.coverage < near.coverage


def test_bad_input_says_what_to_do(features):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        features(torch.rand(1, 2, 8, 8))
    with pytest.raises(UserError, match="no PyPI package"):
        PictureFeatures("resnet50")
