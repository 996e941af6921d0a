"""Clips composed on the fly: what an epoch may change and what it may not."""

import dataclasses

import numpy as np
import pytest
import torch
from collage_fixture import TONES, make_sources
from prepared import log_mel

from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.items import write_index
from ecmvae.data.collage.render import render
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
                    clip.masks[t, 0].flatten().tolist(),
                    clip.objects[t].flatten().tolist(),
                    strict=True,
                ):
                    assert pixel == float(k > 0 and clip.sounding[t, k - 1])

    def test_picture_and_recording_are_of_the_object_that_sounds_longest(self, sources):
        clips = clips_of(sources)
        clips.set_epoch(1)  # other recordings than the scene's
        for index in range(len(clips)):
            clip, scene = clips[index], clips.compose_sound(index, epoch=1)[0]
            seconds = [sum(column) for column in clip.sounding.T.tolist()]
            heard = scene.objects[seconds.index(max(seconds))]
            assert (clip.picture, clip.recording) == (heard.image, heard.sound)
            assert clips.heard(index) == heard
        batch = AVBatch.collate([clips[0], clips[2]])
        assert batch.pictures == (clips[0].picture, clips[2].picture)
        assert (
            AVBatch.collate([clips[0], dataclasses.replace(clips[2], picture="")]).pictures is None
        )

    def test_category_is_the_sounding_class_of_s4(self, sources):
        clips = clips_of(sources)
        for index in range(8):
            clip, things = clips[index], clips.scene(index).objects
            if index % 2:
                assert clip.category == ""
            else:
                assert clip.category == things[int(clip.sounding[0].nonzero())].category

    def test_hop_is_passed_on(self, sources):
        released, every_second = (
            log_mel(clips_of(sources, hop_seconds=hop)[1]) for hop in (0.96, 1.0)
        )
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
            assert clip.classes == clips.classes(index)
            for sounding, heard in zip(clip.sounding.tolist(), clip.heard, strict=True):
                assert heard == tuple(np.array(clip.classes)[sounding])
            assert clip.category in ("", *clips.classes(index))

    def test_beyond_the_end(self, sources):
        with pytest.raises(IndexError):
            clips_of(sources)[8]

    def test_mistakes_are_named(self, sources):
        with pytest.raises(UserError, match="no kind 's5'"):
            clips_of(sources, kind="s5")
        with pytest.raises(UserError, match="no split 'test'"):
            clips_of(sources, split="test")


class TestNegatives:
    """Clips with a sound of nothing in the picture. The fixture's other sounds are tones of 3000 and 4000 Hz."""

    def test_none_changes_nothing_and_some_leave_the_rest_alone(self, sources):
        plain, none, half = (
            clips_of(sources, length=24),
            clips_of(sources, length=24, negatives=0.0),
            clips_of(sources, length=24, negatives=0.5),
        )
        changed = 0
        for epoch in (0, 2):
            for index in range(24):
                scene, activity, waveform = plain.compose_sound(index, epoch)
                assert np.array_equal(none.compose_sound(index, epoch)[2], waveform)
                other_scene, other_activity, other_waveform = half.compose_sound(index, epoch)
                if other_scene.off_screen is None:
                    assert np.array_equal(other_waveform, waveform)
                    assert np.array_equal(other_activity, activity)
                else:
                    changed += 1
                    assert dataclasses.replace(other_scene, off_screen=None) == scene
        assert 14 <= changed <= 34

    def test_alone_no_mask_is_right_and_beside_the_masks_stay(self, sources):
        clips, plain = (clips_of(sources, length=24, negatives=share) for share in (1.0, 0.0))
        alone = 0
        for index in range(24):
            off_screen, clip = clips.compose_sound(index)[0].off_screen, clips[index]
            alone += off_screen.alone
            if off_screen.alone:
                assert not clip.sounding.any()
                assert not clip.masks.any()
                assert clip.category == ""
            else:
                assert torch.equal(clip.masks, plain[index].masks)
        assert alone == pytest.approx(18, abs=6)

    def test_what_is_heard_is_of_nothing_in_the_picture(self, sources):
        clips = clips_of(sources, length=60, negatives=1.0)
        kinds = []
        for index in range(60):
            scene, _, waveform = clips.compose_sound(index)
            off_screen = scene.off_screen
            kinds.append(off_screen.kind)
            if off_screen.kind == "noise" or not off_screen.alone:
                continue
            peak = np.abs(np.fft.rfft(waveform))[500:].argmax() / 5 + 100
            if off_screen.kind == "other":
                assert off_screen.sound in sources.others()
                assert 2350 < peak < 5100
            else:
                category = sources.item("sound", off_screen.sound).category
                assert category not in {thing.category for thing in scene.objects}
                assert clips[index].heard == ((category,),) * 5
                assert abs(12 * np.log2(peak / TONES[category])) < 4.1
        assert {
            kind: kinds.count(kind) > 4 for kind in ("other", "sound", "noise")
        } == dict.fromkeys(kinds, True)

    def test_drawn_again_in_every_epoch_and_the_same_for_the_same(self, sources):
        first, again = (clips_of(sources, length=24, negatives=0.5) for _ in range(2))
        runs = ((first, 0), (again, 0), (first, 1))
        heard = [
            [clips.compose_sound(index, epoch)[0].off_screen for index in range(24)]
            for clips, epoch in runs
        ]
        assert heard[0] == heard[1] != heard[2]

    def test_sources_without_other_sounds_give_noise(self, tmp_path):
        items = [item for item in make_sources(tmp_path).items if item.kind != "other"]
        write_index(tmp_path, items)
        clips = clips_of(CollageSources(tmp_path), length=30, negatives=1.0)
        kinds = {clips.compose_sound(index)[0].off_screen.kind for index in range(30)}
        assert kinds == {"sound", "noise"}


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
            heard = [
                [thing.sound for thing in clips.compose_sound(index, epoch)[0].objects]
                for epoch in (0, 3)
            ]
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
            semitones = [
                12 * np.log2(max(group) / min(group)) for group in peaks.values() if len(group) > 2
            ]
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


def test_free_scenes_have_things_that_never_sound_and_objects_cut_by_the_border(tmp_path):
    """Every training scene is composed freely: some hold a cut-out of no class, whose column stays silent."""
    clips = CollageClips(make_sources(tmp_path, things=True), length=40, size=64, free_scenes=1.0)
    plain = CollageClips(clips.sources, length=40, size=64)
    scenes = [clips.scene(index) for index in range(40)]
    silent = [
        index
        for index, scene in enumerate(scenes)
        if not all(thing.category for thing in scene.objects)
    ]
    assert 10 < len(silent) < 35  # three in five hold one
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3, 4, 5}
    assert sum(scene.blur > 0 for scene in scenes) > 5
    for index in silent:
        clip = clips[index]
        for column, thing in enumerate(scenes[index].objects):
            if not thing.category:
                assert thing.sound == ""
                assert not clip.sounding[:, column].any()
                assert clip.classes[column] == ""
    edges = [objects for index in range(40) for objects in clips.frames(index)[1]]
    assert any(each[:, 0].any() or each[:, -1].any() for each in edges)
    assert all(
        scene.blur == 0 and all(thing.category for thing in scene.objects)
        for scene in map(plain.scene, range(9))
    )


def test_test_scenes_are_the_same_for_every_share_of_free_ones(tmp_path):
    sources = make_sources(tmp_path)
    free = CollageClips(sources, split="test_seen", length=4, size=64, free_scenes=1.0)
    assert [free.scene(i) for i in range(4)] == [
        CollageClips(sources, split="test_seen", length=4, size=64).scene(i) for i in range(4)
    ]


def test_blur_softens_the_frame_and_leaves_the_outlines(tmp_path):
    sources = make_sources(tmp_path)
    scene = CollageClips(sources, length=1, size=64).scene(0)
    sharp, objects = render(scene, (0.5,), 64, sources)
    soft, same = render(dataclasses.replace(scene, blur=0.05), (0.5,), 64, sources)
    assert np.array_equal(objects, same)
    assert (
        np.abs(np.diff(soft.astype(float), axis=2)).mean()
        < 0.7 * np.abs(np.diff(sharp.astype(float), axis=2)).mean()
    )
