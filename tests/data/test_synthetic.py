"""Moving shapes: reproducible, right about who sounds, still when only the sound is drawn again."""

import numpy as np
import pytest
import torch
from prepared import log_mel, log_mel_of

from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.synthetic import SHAPES, SyntheticAVS


def test_same_seed_same_clips():
    one, two = SyntheticAVS("ms3", 3, 32, 7)[2], SyntheticAVS("ms3", 5, 32, 7)[2]
    other = SyntheticAVS("ms3", 3, 32, 8)[2]
    for field in ("frames", "waveform", "masks", "objects", "sounding"):
        assert torch.equal(getattr(one, field), getattr(two, field)), field
    assert not torch.equal(one.frames, other.frames)


@pytest.mark.parametrize("kind", ["s4", "ms3"])
def test_masks_are_the_objects_that_sound(kind):
    for clip in (SyntheticAVS(kind, 6, 48, 1)[i] for i in range(6)):
        for frame in range(5):
            expected = torch.zeros(48, 48, dtype=torch.bool)
            for k in range(clip.sounding.shape[1]):
                if clip.sounding[frame, k]:
                    expected |= clip.objects[frame] == k + 1
            assert torch.equal(clip.masks[frame, 0] > 0, expected)


def test_s4_has_one_voice_throughout_and_ms3_changes():
    s4, ms3, both = (SyntheticAVS(kind, 60, 16, 0) for kind in ("s4", "ms3", "both"))
    steady, tables = ([clips.sound(index, 0)[1] for index in range(60)] for clips in (s4, ms3))
    for sounding in steady:
        assert sounding.shape == (5, 2)
        assert (sounding.sum(dim=1) == 1).all()
        assert (sounding == sounding[0]).all()
    for index in range(20):
        assert torch.equal(both.sound(index, 0)[1], (tables if index % 2 else steady)[index])
    assert sum(bool((table != table[0]).any()) for table in tables) > 40
    silent = torch.cat([~table.any(dim=1) for table in tables]).float().mean()
    assert 0.02 < silent < 0.2
    assert not any(table.all(dim=1).any() for table in tables)


def test_set_epoch_changes_sound_but_no_picture():
    clips, fixed = SyntheticAVS("s4", 20, 32, 0), SyntheticAVS("s4", 20, 32, 0, remix=False)
    before = [clips[i] for i in range(20)]
    clips.set_epoch(1)
    fixed.set_epoch(1)
    after = [clips[i] for i in range(20)]
    for a, b, c in zip(before, after, (fixed[i] for i in range(20)), strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.objects, b.objects)
        assert torch.equal(a.waveform, c.waveform)
        assert not torch.equal(a.waveform, b.waveform)
    assert (
        3
        < sum(not torch.equal(a.sounding, b.sounding) for a, b in zip(before, after, strict=True))
        < 17
    )


def test_parts_agree_with_the_clip():
    clips = SyntheticAVS("ms3", 4, 32, 0)
    clip = clips[3]
    assert torch.equal(clips.waveform(3)[0], clip.waveform)
    torch.testing.assert_close(log_mel_patches(*clips.waveform(3), 1.0, 5), log_mel(clip))
    np.testing.assert_array_equal(clips.frames(3)[1], clip.objects.numpy())
    assert len(clips.classes(3)) == clip.sounding.shape[1]
    alone = SyntheticAVS("s4", 6, 16, 0)
    heard = [
        alone.classes(index)[alone[index].sounding[0].tolist().index(True)] for index in range(6)
    ]
    assert [alone[index].category for index in range(6)] == heard


def test_classes_can_be_told_apart_by_their_sound():
    """The nearest mean log-mel names the sounding class of new clips: who listens can know."""
    clips = SyntheticAVS("s4", 150, 16, 0)

    def heard(index):
        waveform, sounding = clips.sound(index, 0)
        category = clips.classes(index)[int(sounding[0].int().argmax())]
        return log_mel_of(waveform).mean(dim=(0, 1, 2)), [s.name for s in SHAPES].index(category)

    known = [heard(index) for index in range(100)]
    means = torch.stack(
        [torch.stack([x for x, c in known if c == k]).mean(dim=0) for k in range(len(SHAPES))]
    )
    right = [int((means - x).norm(dim=1).argmin()) == c for x, c in map(heard, range(100, 150))]
    assert np.mean(right) > 0.8


def test_index_out_of_range():
    with pytest.raises(IndexError):
        SyntheticAVS(length=2)[2]
