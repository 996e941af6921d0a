"""S4, MS3 and Collage folders read back as what was written into them."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from prepared import log_mel

from ecmvae.audio.io import read_wave
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.layout import read_clips, tasks_in
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.transforms import ClipTransform
from ecmvae.errors import UserError
from ecmvae.types import AVBatch
from ecmvae.visual.normalisation import IMAGENET

SIDE = 40
COUNTS = {"train": 2, "val": 1, "test": 2}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A root with both tasks in the released layout."""
    root = tmp_path_factory.mktemp("released")
    for task in ("s4", "ms3"):
        write_miniature(root, task, COUNTS, source=ShapeScenes(task, SIDE))
    return root


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """A root as AVS-Collage writes it: more splits, all masks, object masks and clips.json."""
    root = tmp_path_factory.mktemp("composed")
    for task in ("s4", "ms3"):
        write_miniature(
            root,
            task,
            {"train": 1, "test_unseen": 2},
            source=ShapeScenes(task, SIDE),
            composed=True,
        )
    return root


@pytest.fixture
def copy(released, tmp_path):
    """A root of one's own to damage."""
    return shutil.copytree(released, tmp_path / "root")


def scene(task: str, index: int):
    return ShapeScenes(task, SIDE).scene(index)


@pytest.mark.parametrize("task", ["s4", "ms3"])
@pytest.mark.parametrize(("split", "first"), [("val", 2), ("test", 3)])
def test_reads_what_was_written(released, task, split, first):
    data = AVSBenchDataset(released, task, split, image_size=SIDE)
    assert len(data) == COUNTS[split]
    for k, clip in enumerate(data):
        expected = scene(task, first + k)
        frames, _ = ClipTransform(SIDE)(expected.pictures)
        assert torch.equal(clip.frames, frames)
        assert torch.equal(clip.masks, torch.from_numpy(expected.masks).float().unsqueeze(1))
        assert clip.supervised.all()
        assert clip.category == (expected.category if task == "s4" else "")
        # The wav's 16 bits show where a band is all but silent.
        torch.testing.assert_close(
            log_mel(clip), log_mel_patches(expected.waveform), atol=0.05, rtol=0
        )
        assert clip.objects is None
        assert clip.sounding is None


def test_s4_trains_on_the_first_mask_only(released):
    clip = AVSBenchDataset(released, "s4", "train", image_size=SIDE)[0]
    assert clip.supervised.tolist() == [True, False, False, False, False]
    assert clip.masks[0].any()
    assert not clip.masks[1:].any()
    assert AVSBenchDataset(released, "ms3", "train", image_size=SIDE)[0].supervised.all()


@pytest.mark.parametrize("task", ["s4", "ms3"])
def test_grey_masks_follow_the_rule(copy, task):
    """A mask with grey from 0 to 255: white where it is not black, or what its authors' loaders train on."""
    train, test = (read_clips(copy, task, split)[0] for split in ("train", "test"))
    ramp = np.linspace(0, 255, SIDE * SIDE).astype(np.uint8).reshape(SIDE, SIDE)
    for clip in (train, test):
        Image.fromarray(ramp).save(clip.mask(1))
    seen = {
        (rule, split): AVSBenchDataset(copy, task, split, image_size=SIDE, mask_rule=rule)[0]
        .masks[0, 0]
        .numpy()
        for rule in ("any", "released")
        for split in ("train", "test")
    }
    for split in ("train", "test"):
        np.testing.assert_array_equal(seen["any", split], ramp > 0)
    theirs = (
        np.asarray(Image.fromarray(ramp).convert("1")) if task == "s4" else ramp / np.float32(255)
    )
    np.testing.assert_array_equal(seen["released", "train"], theirs)
    # scores are defined for 0 and 1 only
    np.testing.assert_array_equal(seen["released", "test"], theirs > 0)


def test_without_grey_the_rules_agree(released):
    for task in ("s4", "ms3"):
        plain, theirs = (
            AVSBenchDataset(released, task, image_size=SIDE, mask_rule=rule)
            for rule in ("any", "released")
        )
        assert all(torch.equal(a.masks, b.masks) for a, b in zip(plain, theirs, strict=True))


def test_supervised_is_a_setting(composed, released):
    rules = {
        rule: AVSBenchDataset(composed, "s4", "train", supervised=rule)[0]
        for rule in ("auto", "first", "all")
    }
    assert [int(rules[rule].supervised.sum()) for rule in ("auto", "first", "all")] == [5, 1, 5]
    assert not rules["first"].masks[1:].any()
    with pytest.raises(UserError, match=r"_2\.png: no such file"):
        AVSBenchDataset(released, "s4", "train", supervised="all")[0]


@pytest.mark.parametrize("task", ["s4", "ms3"])
def test_composed_clips_know_their_objects(composed, task):
    data = AVSBenchDataset(composed, task, "test_unseen", image_size=SIDE, hop_seconds=1.0)
    clip, expected = data[1], scene(task, 2)
    np.testing.assert_array_equal(clip.objects.numpy(), expected.objects)
    np.testing.assert_array_equal(clip.sounding.numpy(), expected.sounding)
    batch = AVBatch.collate([data[0], clip])
    assert batch.objects.shape == (2, 5, SIDE, SIDE)


def test_objects_masks_and_frames_keep_together_when_resized(composed):
    clip = AVSBenchDataset(composed, "s4", "train", image_size=64)[0]
    assert clip.frames.shape == (5, 3, 64, 64)
    sounding = int(clip.sounding[0].long().argmax()) + 1
    assert torch.equal(clip.masks[:, 0] > 0, clip.objects == sounding)


def test_audio_sources(released):
    wav, _ = read_wave(AVSBenchDataset(released, "ms3", "val").clips[0].wav)
    # no pickle fits: from the sound
    every_second = AVSBenchDataset(released, "ms3", "val", hop_seconds=1.0)
    assert every_second[0].audio is None
    torch.testing.assert_close(log_mel(every_second[0]), log_mel_patches(wav, 16000, 1.0, 5))
    pickled = AVSBenchDataset(released, "ms3", "val", audio="log_mel")[0]
    assert pickled.waveform is None
    assert pickled.audio_kind == "vggish"
    heard = AVSBenchDataset(released, "ms3", "val", audio="wav")[0]
    assert heard.audio is None
    torch.testing.assert_close(log_mel(pickled), log_mel(heard))
    both = AVSBenchDataset(released, "ms3", "val")[0]
    assert torch.equal(both.audio, pickled.audio)
    assert torch.equal(both.waveform, heard.waveform)


def test_a_pickle_is_no_help_to_another_encoder(released):
    """Cached VGGish features stand in for the sound, but only for VGGish."""

    class Loudness:
        name, sample_rate, seconds = "loudness", 16_000, 0.5

        def __call__(self, waveforms):
            return waveforms.square().mean(1, keepdim=True)

    other = ClipPreprocessor(Loudness(), IMAGENET)
    clip = AVSBenchDataset(released, "ms3", "val")[0]
    windows = clip.waveform.unfold(0, 8_000, 15_360)[:5]
    shifted = clip.waveform[4_000:].unfold(0, 8_000, 15_360)[:5]
    assert other(clip).audio.shape == (5, 1)
    assert not torch.equal(other(clip).audio, windows.square().mean(1, keepdim=True))
    # centred on the frame
    torch.testing.assert_close(other(clip).audio, shifted.square().mean(1, keepdim=True))
    with pytest.raises(
        UserError, match="only cached vggish features, but the model hears loudness"
    ):
        other(AVSBenchDataset(released, "ms3", "val", audio="log_mel")[0])


def test_audio_of_the_wrong_hop(released):
    with pytest.raises(UserError, match="hop_seconds"):
        AVSBenchDataset(released, "ms3", "val", audio="log_mel", hop_seconds=1.0)


@pytest.mark.parametrize(("count", "source"), [(3, [0, 1, 2, 2, 2]), (6, [0, 1, 2, 3, 4])])
def test_pickles_of_another_length(copy, count, source):
    data = AVSBenchDataset(copy, "ms3", "val")
    patches = torch.randn(count, 1, 96, 64)
    data.clips[0].log_mel.write_bytes(pickle.dumps(patches))
    assert torch.equal(data.sound_fields(0)["audio"], patches[source])


def test_root_may_be_the_task_folder(released):
    names = [clip.name for clip in AVSBenchDataset(released, "s4", "test").clips]
    assert [
        clip.name for clip in AVSBenchDataset(released / "Single-source", "s4", "test").clips
    ] == names
    assert tasks_in(released) == ["s4", "ms3"]


def test_missing_things_are_named(copy, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        AVSBenchDataset(tmp_path / "nowhere", "s4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no Multi-sources/ms3_meta_data\.csv"):
        AVSBenchDataset(tmp_path / "empty", "ms3")
    with pytest.raises(UserError, match="no clip has split 'tset'; choose from train, val, test"):
        AVSBenchDataset(copy, "s4", "tset")
    data = AVSBenchDataset(copy, "ms3", "test")
    data.clips[0].mask(3).unlink()
    with pytest.raises(UserError, match=r"_3\.png: no such file"):
        data[0]
    data.clips[1].log_mel.write_bytes(pickle.dumps(torch.full((5, 1, 96, 64), torch.inf)))
    with pytest.raises(UserError, match=r"\.pkl: holds NaN or infinity: remove it"):
        data[1]
    data.clips[1].wav.unlink()
    data.clips[1].log_mel.unlink()
    with pytest.raises(UserError, match=r"\.wav: no such"):
        data[1]


@pytest.mark.parametrize("which", ["frame", "mask"])
def test_another_size_is_refused(copy, which):
    data = AVSBenchDataset(copy, "ms3", "test")
    path = getattr(data.clips[0], which)(2)
    Image.open(path).resize((20, SIDE)).save(path)
    with pytest.raises(
        UserError, match=r"_2\.png: is 20 x 40 pixels but the clip's first frame is 40 x 40"
    ):
        data[0]


def test_bad_clips_json(composed, tmp_path):
    root = shutil.copytree(composed, tmp_path / "root")
    path = root / "Single-source/clips.json"
    about = json.loads(path.read_text())
    name = AVSBenchDataset(root, "s4", "train").clips[0].name
    about[name]["sounding"] = about[name]["sounding"][:2]
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=rf"clips\.json: {name} must say"):
        AVSBenchDataset(root, "s4", "train")[0]
    path.write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        AVSBenchDataset(root, "s4", "train")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sounding", None),
        ("sounding", []),
        ("sounding", [["\x1b]0;t\x07"]] * 5),
        ("sounding", [[None]] * 5),
        ("sounding", [[True], [True, False], [True], [True], [True]]),
        ("objects", 5),
        ("objects", ["a"] * 300),
        ("images", [None]),
    ],
)
def test_clips_json_of_the_wrong_kinds(composed, tmp_path, key, value):
    root = shutil.copytree(composed, tmp_path / "root")
    path = root / "Single-source/clips.json"
    about = json.loads(path.read_text())
    about[AVSBenchDataset(root, "s4", "train").clips[0].name][key] = value
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"clips\.json: must map each clip's name to its objects"):
        AVSBenchDataset(root, "s4", "train")
