"""Pictures to squares: against torchvision, and masks under the same geometry."""

import numpy as np
import torch
from torchvision.transforms import v2

from ecmvae.data.transforms import ClipTransform


def test_same_as_torchvision():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 60, 90, 3), dtype=np.uint8)
    frames, none = ClipTransform(32)(pictures)
    assert none is None
    expected = v2.functional.resize(
        torch.from_numpy(pictures).permute(0, 3, 1, 2), [32, 32], antialias=True
    )
    assert torch.equal(frames, expected)


def test_maps_keep_their_values_and_place():
    pictures = np.zeros((1, 64, 64, 3), np.uint8)
    maps = np.zeros((2, 64, 64), np.uint8)
    pictures[0, 16:32, 32:48] = 255
    maps[0, 16:32, 32:48], maps[1, 48:] = 7, 2
    frames, moved = ClipTransform(32)(pictures, maps)
    assert moved.unique().tolist() == [0, 2, 7]
    bright = frames[0].float().mean(dim=0) > 190
    assert torch.equal(bright, moved[0] == 7)


def test_right_size_is_left_alone():
    pictures = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    frames, _ = ClipTransform(16)(pictures)
    np.testing.assert_array_equal(frames[0].permute(1, 2, 0).numpy(), pictures[0])
