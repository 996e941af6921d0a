"""Pictures to normalised squares: against torchvision, and masks under the same geometry."""

import numpy as np
import torch
from torchvision.transforms import v2

from ecmvae.data.transforms import IMAGENET_MEAN, IMAGENET_STD, ClipTransform


def test_same_as_torchvision():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 60, 90, 3), dtype=np.uint8)
    frames, none = ClipTransform(32)(pictures)
    assert none is None
    reference = v2.Compose([v2.Resize((32, 32), antialias=True), v2.ToDtype(torch.float32, scale=True)])
    expected = v2.functional.normalize(
        reference(torch.from_numpy(pictures).permute(0, 3, 1, 2)), list(IMAGENET_MEAN), list(IMAGENET_STD)
    )
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=0)


def test_maps_keep_their_values_and_place():
    pictures = np.zeros((1, 64, 64, 3), np.uint8)
    maps = np.zeros((2, 64, 64), np.uint8)
    pictures[0, 16:32, 32:48] = 255
    maps[0, 16:32, 32:48], maps[1, 48:] = 7, 2
    frames, moved = ClipTransform(32)(pictures, maps)
    assert moved.unique().tolist() == [0, 2, 7]
    bright = frames[0].mean(dim=0) > 1
    assert torch.equal(bright, moved[0] == 7)


def test_right_size_is_left_alone():
    pictures = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    frames, _ = ClipTransform(16)(pictures)
    restored = (frames * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]) * 255
    np.testing.assert_array_equal(restored[0].permute(1, 2, 0).round().numpy().astype(np.uint8), pictures[0])
