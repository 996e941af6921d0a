"""Robustness numbers of frames whose answer is written down by hand."""

import pytest
import torch

from ecmvae.metrics.robustness import (
    audio_sensitivity,
    false_mask,
    false_positive_rate,
    rejected,
    robust_score,
)


def frame(*rows: str) -> torch.Tensor:
    """'#' is a pixel predicted to sound."""
    return torch.tensor([[[4.0 if c == "#" else -4.0 for c in row] for row in rows]])


def test_share_of_predicted_pixels():
    frames = torch.cat([frame("####", "...."), frame("#...", "...."), frame("....", "....")])
    assert false_positive_rate(frames).tolist() == [0.5, 0.125, 0.0]
    assert rejected(frames, 0.2).tolist() == [False, True, True]
    assert rejected(frames, 0.125).tolist() == [False, False, True]  # below, not at


def test_a_single_frame_makes_a_false_mask():
    clips = torch.full((3, 2, 20, 20), -4.0)  # two frames of 400 pixels: 0.5 % are 2
    clips[0, 0, 0, :2] = 4.0
    clips[1, 1, 0, :3] = 4.0
    assert false_mask(clips).tolist() == [False, True, False]
    assert false_mask(clips, area=0.004).tolist() == [True, True, False]
    assert false_mask(clips, area=0.01).tolist() == [False, False, False]


def test_sensitivity():
    one = torch.cat([frame("##.."), frame("##.."), frame("...."), frame("....")])
    two = torch.cat([frame("##.."), frame(".##."), frame("...."), frame("#...")])
    torch.testing.assert_close(audio_sensitivity(one, two), torch.tensor([0.0, 2 / 3, 0.0, 1.0]))
    assert torch.equal(audio_sensitivity(one, two), audio_sensitivity(two, one))


def test_harmonic_mean():
    assert robust_score(0.8, 0.2) == pytest.approx(0.8)
    assert robust_score(0.5, 0.0) == pytest.approx(2 / 3)
    assert robust_score(0.9, 1.0) == 0
    assert robust_score(0.0, 1.0) == 0
