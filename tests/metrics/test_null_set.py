"""Both meanings of S against loops over pixels."""

import math

import pytest
import torch

from ecmvae.metrics.null_set import NullSet, null_s


def clips():
    """Four clips of two frames of 10 x 10 pixels; 0 and 3 have no ground truth, 2 has it in one frame."""
    logits = torch.randn(4, 2, 1, 10, 10, generator=torch.Generator().manual_seed(4)) - 1
    masks = torch.zeros(4, 2, 1, 10, 10)
    masks[1, :, 0, :3], masks[2, 1, 0, 5, 5] = 1, 1
    return logits, masks


def share(clip):
    return sum(1 / (1 + math.exp(-value)) > 0.5 for value in clip.flatten().tolist()) / clip.numel()


def test_against_loops():
    logits, masks = clips()
    metric = NullSet()
    metric.update(logits[2:], masks[2:], torch.tensor([2, 3]))
    metric.update(logits[:2], masks[:2], torch.tensor([0, 1]))
    shares = [share(logits[0]), share(logits[3])]
    root, plain, count = metric.compute()
    assert root == pytest.approx(sum(math.sqrt(each) for each in shares) / 2, abs=1e-6)
    assert plain == pytest.approx(sum(shares) / 2, abs=1e-6)  # the clips are of one size
    assert count == 2
    assert null_s(logits[:, :, 0])[0].item() == pytest.approx(math.sqrt(shares[0]), abs=1e-6)


def test_one_percent_is_a_tenth_by_one_and_a_hundredth_by_the_other():
    logits = torch.full((1, 1, 1, 10, 10), -5.0)
    logits[0, 0, 0, 3, 3] = 5
    metric = NullSet()
    metric.update(logits, torch.zeros_like(logits), torch.tensor([0]))
    assert metric.compute() == pytest.approx((0.1, 0.01, 1))


def test_frames_that_are_not_valid_and_sets_without_null_clips():
    logits, masks = clips()
    metric = NullSet()
    metric.update(logits, masks, torch.arange(4), torch.tensor([[True, False]] * 4))
    assert metric.compute().s_share == pytest.approx(
        (share(logits[0, 0]) + share(logits[3, 0])) / 2, abs=1e-6
    )
    metric = NullSet()
    metric.update(logits[1:2], masks[1:2], torch.tensor([1]))
    assert metric.compute() == (None, None, 0)
