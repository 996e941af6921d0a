"""Still scenes whose sound is switched on and off."""

from pathlib import Path

import numpy as np
import pytest
import torch
from collage_fixture import make_sources

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.switches import SHIFTS, SwitchedClips, times_of


def test_a_clip_stands_still_and_sounds_between_its_moments(tmp_path: Path) -> None:
    clips = CollageClips(make_sources(tmp_path), "s4", "test_seen", 3, 32, remix=False)
    switched = SwitchedClips(clips, seed=1)
    assert len(switched) == 3 * SHIFTS
    for number, switch in enumerate(switched.switches):
        first, last = switched[SHIFTS * number], switched[SHIFTS * number + SHIFTS - 1]
        assert first.start_seconds == 0
        assert last.start_seconds == 0.9
        assert torch.equal(first.waveform, last.waveform)
        assert torch.equal(first.frames, first.frames[:1].expand_as(first.frames))
        audible = np.flatnonzero(first.waveform.numpy()) / SAMPLE_RATE
        assert audible[0] == pytest.approx(switch.on, abs=0.05)
        assert audible[-1] == pytest.approx(switch.off, abs=0.05)
        # the mask is the sounding thing's: of the clip as it moves, frame 2
        clip = clips[number]
        heard = [placed.image for placed in clips.scene(number).objects].index(switch.picture)
        assert torch.equal(first.masks[0, 0], (clip.objects[2] == heard + 1).float())
        assert torch.equal(first.frames[0], clip.frames[2])
    with pytest.raises(IndexError):
        switched[3 * SHIFTS]


def test_shifts_fill_the_clip_at_a_tenth_of_a_second() -> None:
    times = sorted(moment for shift in range(SHIFTS) for moment in times_of(SHIFTS + shift))
    assert times == pytest.approx(np.arange(5, 55) / 10)
