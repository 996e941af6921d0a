"""Clips composed on the fly: what an epoch may change and what it may not."""

import dataclasses

import numpy as np
import pytest
import torch
from collage_fixture import make_sources
from prepared import log_mel

from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.scene import SPLITS
from ecmvae.data.collage.sources import CollageSources
from ecmvae.errors import UserError
from ecmvae.types import AVBatch


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


def clips_of(sources, **changes):
    return CollageClips(sources, **({"kind": "both", "length": 8, "size": 32} | changes))


def same(first, second):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(vars(first).values(), vars(second).values(), strict=True)
    )


class TestClip:
    def test_fields(self, sources):
        clips = clips_of(sources)
        for index in range(len(clips)):
            clip = clips[index]
            assert clip.name == f"train_{'ms3' if index % 2 else 's4'}_{index:05d}"
            assert clip.frames.shape == (5, 3, 32, 32)
            assert clip.waveform.shape == (5 * 16_000,)
            assert log_mel(clip).shape == (5, 1, 96, 64)
            assert clip.masks.shape == (5, 1, 32, 32)
            assert clip.supervised.tolist() == [True] * 5
            assert clip.objects.shape == (5, 32, 32)
            assert clip.sounding.shape == (5, len(clips.scene(index).objects))
            assert np.array_equal(clip.frames.permute(0, 2, 3, 1).numpy(), clips.frames(index)[0])
        assert len(AVBatch.collate([clips[i] for i in range(8)]).names) == 8

    def test_mask_is_the_union_of_what_sounds(self, sources):
        """Pixel by pixel, from the index map and the table."""
        for clip in (clips_of(sources)[index] for index in range(8)):
            for t in range(5):
                for pixel, k in zip(
                    clip.masks[t, 0].flatten().tolist(), clip.objects[t].flatten().tolist(), strict=True
                ):
                    assert pixel == float(k > 0 and clip.sounding[t, k - 1])

    def test_category_is_the_sounding_class_of_s4(self, sources):
        clips = clips_of(sources)
        for index in range(8):
            clip, things = clips[index], clips.scene(index).objects
            if index % 2:
                assert clip.category == ""
            else:
                assert clip.category == things[int(clip.sounding[0].nonzero())].category

    def test_hop_is_passed_on(self, sources):
        released, every_second = (log_mel(clips_of(sources, hop_seconds=hop)[1]) for hop in (0.96, 1.0))
        assert not torch.equal(released, every_second)
        assert torch.equal(released[0], every_second[0])

    def test_its_sound_comes_without_its_pictures(self, sources):
        clips = clips_of(sources)
        clips.set_epoch(2)
        for index in range(4):
            clip = clips[index]
            assert torch.equal(clips.waveform(index)[0], clip.waveform)
            waveform, rate = clips.waveform(index)
            assert (waveform.shape, rate) == ((5 * 16_000,), 16_000)
            np.testing.assert_array_equal(waveform.numpy(), clips.compose_sound(index, 2)[2])
            assert len(clips.classes(index)) == clip.sounding.shape[1]
            assert clip.category in ("", *clips.classes(index))

    def test_beyond_the_end(self, sources):
        with pytest.raises(IndexError):
            clips_of(sources)[8]

    def test_mistakes_are_named(self, sources):
        with pytest.raises(UserError, match="no kind 's5'"):
            clips_of(sources, kind="s5")
        with pytest.raises(UserError, match="no split 'test'"):
            clips_of(sources, split="test")


class TestEpochs:
    def test_sound_changes_and_sight_does_not(self, sources):
        clips = clips_of(sources, kind="ms3")
        changed = {"sounding": 0, "waveform": 0, "sounds": 0}
        for index in range(8):
            clips.set_epoch(0)
            first = clips[index]
            clips.set_epoch(3)
            later = clips[index]
            assert torch.equal(first.frames, later.frames)
            assert torch.equal(first.objects, later.objects)
            assert first.name == later.name
            changed["sounding"] += not torch.equal(first.sounding, later.sounding)
            changed["waveform"] += not torch.equal(first.waveform, later.waveform)
            heard = [[thing.sound for thing in clips.compose_sound(index, epoch)[0].objects] for epoch in (0, 3)]
            changed["sounds"] += heard[0] != heard[1]
        assert changed["waveform"] == 8
        assert changed["sounding"] >= 6
        assert changed["sounds"] >= 4

    def test_without_remix_every_epoch_is_the_first(self, sources):
        clips = clips_of(sources, split="val", remix=False)
        first = clips[1]
        clips.set_epoch(5)
        assert same(first, clips[1])
        remixed = clips_of(sources, split="val", remix=True)
        assert same(first, remixed[1])

    def test_parts_agree_with_the_whole(self, sources):
        clips = clips_of(sources)
        clips.set_epoch(2)
        waveform, sounding, masks = clips.sound(3, 2)
        clip = clips[3]
        assert torch.equal(clip.waveform, waveform)
        assert torch.equal(clip.sounding, sounding)
        assert torch.equal(clip.masks, masks)
        assert np.array_equal(clip.objects.numpy(), clips.objects(3))

    def test_only_training_is_augmented(self, sources):
        """In training a recording's pitch varies from epoch to epoch; in validation it is what was recorded."""
        for split, spread in (("train", 0.5), ("val", 0.1)):
            clips = clips_of(sources, kind="s4", split=split)
            peaks = {}
            for epoch in range(12):
                scene, activity, waveform = clips.compose_sound(0, epoch)
                sound = scene.objects[int(activity[0].argmax())].sound
                peaks.setdefault(sound[:-2], []).append(np.argmax(np.abs(np.fft.rfft(waveform))))
            semitones = [12 * np.log2(max(group) / min(group)) for group in peaks.values() if len(group) > 2]
            assert semitones
            assert all((s > spread) if split == "train" else (s < spread) for s in semitones)


class TestDeterminism:
    def test_same_seed_same_clips_in_any_order_and_process(self, sources):
        one, two = clips_of(sources), clips_of(CollageSources(sources.root), keep_frames=True)
        backwards = {index: two[index] for index in reversed(range(8))}
        assert all(same(one[index], backwards[index]) for index in range(8))
        assert all(same(one[index], two[index]) for index in range(8))  # now from memory

    def test_more_clips_do_not_change_the_first_ones(self, sources):
        assert same(clips_of(sources)[5], clips_of(sources, length=500)[5])

    @pytest.mark.parametrize("changes", [{"seed": 1}, {"split": "val"}])
    def test_other_seed_or_split_other_scenes(self, sources, changes):
        one, two = clips_of(sources, kind="ms3"), clips_of(sources, kind="ms3", **changes)
        assert all(one.scene(index) != two.scene(index) for index in range(8))

    def test_kinds_are_the_same_alone_and_in_turn(self, sources):
        both, ms3 = clips_of(sources), clips_of(sources, kind="ms3")
        assert same(both[3], ms3[3])

    def test_splits_share_nothing_that_they_should_not(self, sources):
        used = {}
        for split in SPLITS:
            scenes = [clips_of(sources, split=split).compose_sound(index)[0] for index in range(8)]
            used[split] = {
                "background": {scene.background for scene in scenes},
                "image": {thing.image for scene in scenes for thing in scene.objects},
                "sound": {thing.sound for scene in scenes for thing in scene.objects},
            }
        for split in SPLITS[1:]:
            assert not used["train"]["background"] & used[split]["background"]
        for split in ("test_unseen", "test_unseen_image"):
            assert not used["train"]["image"] & used[split]["image"]
        for split in ("test_unseen", "test_unseen_sound"):
            assert not used["train"]["sound"] & used[split]["sound"]


def test_scenes_are_frozen(sources):
    with pytest.raises(dataclasses.FrozenInstanceError):
        clips_of(sources).scene(0).brightness = 2.0
