"""Delays of masks, of models that follow the loudness of their audio window and of one that answers nothing."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from collage_fixture import make_sources
from fake_segmenter import FakeSegmenter

from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.switches import Switch, SwitchedClips
from ecmvae.evaluation.latency import SwitchAnswer, delays, latency_scores, switch_sounds

SWITCH = Switch(picture="cow", on=1.5, off=3.25)


def test_delays_of_a_mask_that_is_late_and_stays() -> None:
    times = np.arange(5, 55) / 10
    inside = ((times > 1.75) & (times < 4.05)).astype(float)  # 1.8 to 4.0, so it ends at 4.1
    shuffled = np.random.default_rng(0).permutation(50)
    found = delays(times[shuffled], inside[shuffled], SWITCH)
    assert found.picture == "cow"
    assert found[1:] == pytest.approx((0.3, 0.85))
    assert delays(times, np.full(50, 0.5), SWITCH) == SwitchAnswer("cow", None, None)


class _FollowsLoudness(FakeSegmenter):
    """Marks everything while its window, which is centred on the frame, holds more than a share of sound."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def encode_audio(self, features):
        return features.flatten(2).mean(-1, keepdim=True)

    def forward(self, frames, audio, latents="sample", features=None):
        silent = np.log(0.01)
        loud = (audio - silent) / (audio.max() - silent) > self.share
        logits = torch.where(loud, 4.0, -4.0)[..., None, None]
        return SimpleNamespace(logits=logits.expand(*frames.shape[:2], 1, *frames.shape[-2:]))


def test_a_model_is_as_late_as_its_window_lets_it_be(tmp_path: Path) -> None:
    """With any sound in a window of one second it is half a second early and late; with half of it, on time."""
    clips = CollageClips(make_sources(tmp_path), "s4", "test_seen", 3, 32, remix=False)
    switched = SwitchedClips(clips, seed=0)
    for share, expected in ((0.02, 0.5), (0.5, 0.0)):
        answers = list(switch_sounds(_FollowsLoudness(share), switched, batch_size=30))
        scores = latency_scores(answers)
        assert (scores.clips, scores.marked.value) == (3, 1.0)
        assert scores.on is not None
        assert scores.off is not None
        assert scores.on.value == pytest.approx(-expected, abs=0.15)
        assert scores.off.value == pytest.approx(expected, abs=0.15)


def test_of_what_is_never_marked_there_is_no_delay(tmp_path: Path) -> None:
    clips = CollageClips(make_sources(tmp_path), "s4", "test_seen", 2, 32, remix=False)
    scores = latency_scores(list(switch_sounds(_FollowsLoudness(2.0), SwitchedClips(clips))))
    assert (scores.marked.value, scores.on, scores.off) == (0.0, None, None)
