"""AVSS folders read back as what was written into them."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from prepared import log_mel, prepared

from ecmvae.audio.io import read_wave
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.avss import AVSSDataset, class_names, read_classes, save_classes
from ecmvae.data.miniature import ShapeScenes, write_miniature_avss
from ecmvae.data.palette import voc_palette
from ecmvae.errors import UserError
from ecmvae.types import AVBatch

SIDE = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_miniature_avss(
        tmp_path_factory.mktemp("avss") / "root",
        single=ShapeScenes("s4", SIDE),
        several=ShapeScenes("ms3", SIDE),
    )


def test_palette_is_that_of_voc():
    palette = voc_palette(256)
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
    }
    known |= {20: (0, 64, 128), 255: (224, 224, 192)}
    assert {k: tuple(palette[k].tolist()) for k in known} == known
    assert len(np.unique(voc_palette(71), axis=0)) == 71


def test_labels_there_and_back(tmp_path):
    classes = np.random.default_rng(0).integers(0, 71, (9, 7)).astype(np.uint8)
    save_classes(tmp_path / "label.png", classes)
    np.testing.assert_array_equal(read_classes(tmp_path / "label.png"), classes)
    Image.new("RGB", (3, 3), (1, 2, 3)).save(tmp_path / "label.png")
    with pytest.raises(UserError, match=r"colour \(1, 2, 3\) at \(0, 0\) belongs to no class"):
        read_classes(tmp_path / "label.png")


def test_clips_of_all_subsets(root):
    data = AVSSDataset(root, "train", image_size=SIDE)
    names = class_names(root)
    assert len(names) == 71
    assert [clip.subset for clip in data.clips] == ["v1s", "v1s", "v1m", "v1m", "v2", "v2"]
    lengths = [(int(clip.valid.sum()), int(clip.supervised.sum())) for clip in data]
    assert lengths == [(5, 1)] * 2 + [(5, 5)] * 2 + [(10, 10)] * 2
    clip, seconds = data[4], []
    # after twice four clips of one scene each
    for scene in (ShapeScenes("ms3", SIDE).scene(k) for k in (8, 9)):
        number = np.array([0, *(names.index(name) for name in scene.classes)])
        seconds.append(number[scene.objects] * scene.masks)
    np.testing.assert_array_equal(clip.labels.numpy(), np.concatenate(seconds))
    assert torch.equal(clip.masks[:, 0] > 0, clip.labels > 0)


def test_padding(root):
    clip = AVSSDataset(root, "test", image_size=SIDE)[0]
    assert clip.frames.shape == (10, 3, SIDE, SIDE)
    assert not clip.frames[5:].any()
    assert not prepared(clip).frames[5:].any()  # as the release pads: zero after normalisation
    assert prepared(clip).frames[0].min() < 0
    assert not clip.labels[5:].any()
    assert clip.supervised.tolist() == [True] * 5 + [False] * 5
    wave, _ = read_wave(AVSSDataset(root, "test").clips[0].wav)
    whole = log_mel_patches(wave)
    assert len(whole) == 5
    assert torch.allclose(log_mel(clip)[:5], whole, atol=1e-5)
    silence = log_mel_patches(torch.zeros(16000))[0]
    torch.testing.assert_close(log_mel(clip)[6], silence)
    short = AVSSDataset(root, "test", image_size=SIDE, num_frames=5)
    assert AVBatch.collate([short[0], short[2]]).frames.shape == (2, 5, 3, SIDE, SIDE)


def test_geometry(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "root")
    clip = AVSSDataset(copy, "val").clips[0]
    wide = np.zeros((20, 40), np.uint8)
    wide[:, :10] = 1  # outside the central square
    for k in range(5):
        Image.fromarray(np.repeat(wide[..., None] * 255, 3, axis=2)).save(clip.frame(k))
        save_classes(clip.label(k), wide)
    crop, squash = (
        AVSSDataset(copy, "val", image_size=20, geometry=g)[0] for g in ("crop", "squash")
    )
    assert not crop.labels.any()
    assert squash.labels[0, :, :5].all()
    assert not squash.labels[0, :, 5:].any()


def test_bad_input(root, tmp_path):
    with pytest.raises(UserError, match=r"holds no metadata\.csv"):
        AVSSDataset(tmp_path)
    with pytest.raises(UserError, match="choose from train, val, test"):
        AVSSDataset(root, "tset")
    copy = shutil.copytree(root, tmp_path / "root")
    table = copy / "metadata.csv"
    table.write_text(table.read_text().replace("v2", "v3", 1))
    with pytest.raises(UserError, match="known are v1s, v1m, v2"):
        AVSSDataset(copy)
    table.write_text(table.read_text().replace("uid", "id", 1))
    with pytest.raises(UserError, match="column 'uid' is missing"):
        AVSSDataset(copy)
    with pytest.raises(UserError, match="not empty"):
        write_miniature_avss(copy)
    data = AVSSDataset(root, "val")
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    shutil.copy(tmp_path / "small.png", data.clips[0].label(2))
    with pytest.raises(
        UserError, match=r"2\.png: is 8 x 8 pixels but the clip's first frame is 40 x 40"
    ):
        data[0]
