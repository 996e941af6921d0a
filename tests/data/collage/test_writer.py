"""AVS-Collage on disk: read back by AVSBench's reader, to the byte the same again, resumable, and careful."""

import json
import multiprocessing
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from collage_fixture import make_sources
from PIL import Image
from prepared import log_mel

from ecmvae.audio.io import read_wave
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.collage import writer as collage_writer
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.writer import MANIFEST, CollageSettings, write_collage, write_moving_clip
from ecmvae.data.images import read_rgb
from ecmvae.data.layout import read_clips
from ecmvae.data.video import read_clip
from ecmvae.errors import UserError

SMALL = {
    "size": 32,
    "splits": ("train", "test_seen"),
    "clips_per_set": 2,
    "train_clips": 3,
    "workers": 1,
    "progress": False,
}


def write(root, sources, *, workers, progress, force=False, **settings):
    return write_collage(
        root, sources, CollageSettings(**settings), workers=workers, force=force, progress=progress
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def root(sources, tmp_path_factory):
    """A small written AVS-Collage."""
    return write(tmp_path_factory.mktemp("written") / "collage", sources, **SMALL)


def content(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TestLayout:
    @pytest.mark.parametrize("kind", ["s4", "ms3"])
    @pytest.mark.parametrize(("split", "count"), [("train", 3), ("test_seen", 2)])
    def test_avsbench_reader_gives_the_composed_clips(self, sources, root, kind, split, count):
        """What is read from disk is what `CollageClips` composes, sound up to its 16 bits."""
        composed = CollageClips(sources, kind, split, count, size=32, remix=False)
        written = AVSBenchDataset(root, kind, split, image_size=32, hop_seconds=1.0)
        assert len(written) == count
        for index in range(count):
            one, two = composed[index], written[index]
            assert (one.name, one.category) == (two.name, two.category)
            assert (one.picture, one.recording) == (two.picture, two.recording)
            assert one.picture in sources.images(one.picture.partition("_")[0])
            assert torch.equal(one.frames, two.frames)
            assert torch.equal(one.masks, two.masks)
            assert torch.equal(one.objects, two.objects)
            assert torch.equal(one.sounding, two.sounding)
            assert two.supervised.all()
            assert (log_mel(one) - log_mel(two)).abs().max() < 0.05
            waveform, rate = written.waveform(index)
            assert rate == 16000
            assert np.abs(waveform.numpy() - composed.compose_sound(index)[2]).max() <= 0.51 / 32768

    def test_released_file_names_and_modes(self, root):
        single, multi = root / "Single-source", root / "Multi-sources"
        assert (single / "s4_meta_data.csv").read_text().splitlines()[
            0
        ] == "name,start,category,split"
        assert (multi / "ms3_meta_data.csv").read_text().splitlines()[0] == "video_id,split"
        category = read_clips(root, "s4", "train")[0].category
        assert {
            path.relative_to(single / "s4_data").as_posix()
            for path in single.rglob("train_s4_00000*")
            if path.is_file()
        } == {
            f"{tree}/train/{category}/train_s4_00000/train_s4_00000_{k}.png"
            for tree in ("visual_frames", "gt_masks", "object_masks")
            for k in range(1, 6)
        } | {f"audio_wav/train/{category}/train_s4_00000.wav"}
        name = "test_seen_ms3_00001"
        assert {
            path.relative_to(multi / "ms3_data").as_posix()
            for path in multi.rglob(f"{name}*")
            if path.is_file()
        } == {
            *(f"visual_frames/{name}/{name}.mp4_{k}.png" for k in range(1, 6)),
            *(
                f"{tree}/test_seen/{name}/{name}_{k}.png"
                for tree in ("gt_masks", "object_masks")
                for k in range(1, 6)
            ),
            f"audio_wav/test_seen/{name}.wav",
            f"raw_videos/{name}.mp4",
        }
        mask = Image.open(multi / f"ms3_data/gt_masks/test_seen/{name}/{name}_1.png")
        assert mask.mode == "L"
        assert set(np.unique(mask)) <= {0, 255}

    def test_raw_video_shows_and_sounds_as_the_clip(self, root):
        for clip in read_clips(root, "s4", "test_seen"):
            video = read_clip(clip.raw_video)
            waveform, _ = read_wave(clip.wav)
            for k in range(1, 6):
                frame = video.frames[int(np.argmin(np.abs(np.array(video.timestamps) - (k - 0.5))))]
                assert np.abs(frame.astype(int) - read_rgb(clip.frame(k)).astype(int)).mean() < 12
            heard = torch.as_tensor(video.waveform)[:80000]
            assert len(heard) >= 79000
            similar = torch.nn.functional.cosine_similarity(heard, waveform[: len(heard)], dim=0)
            assert similar > 0.95

    def test_a_larger_video_shows_the_same_scene(self, sources, tmp_path):
        small, large = (
            CollageClips(sources, "s4", "test_seen", 2, size=size, remix=False) for size in (32, 96)
        )
        write_moving_clip(tmp_path / "large.mp4", large, 1)
        video = read_clip(tmp_path / "large.mp4", fps=1.0)
        assert video.frames.shape == (5, 96, 96, 3)
        shrunk = video.frames.reshape(5, 32, 3, 32, 3, 3).mean(axis=(2, 4))
        assert np.abs(shrunk - small.frames(1)[0]).mean() < 10
        assert np.abs(shrunk - small.frames(0)[0]).mean() > 20

    def test_only_test_clips_have_videos(self, root):
        videos = sorted(path.stem for path in root.rglob("*.mp4"))
        assert videos == [f"test_seen_{kind}_{i:05d}" for kind in ("ms3", "s4") for i in (0, 1)]

    def test_clips_json_and_contact_sheets(self, sources, root):
        told = json.loads((root / "Multi-sources/clips.json").read_text())["train_ms3_00002"]
        scene, activity, _ = CollageClips(sources, "ms3", "train", 3, size=32).compose_sound(2)
        assert told == {
            "objects": [thing.category for thing in scene.objects],
            "sounding": activity.tolist(),
            "images": [thing.image for thing in scene.objects],
            "sounds": [thing.sound for thing in scene.objects],
            "background": scene.background,
        }
        sheet = Image.open(root / "Multi-sources/montage_train.png")
        assert sheet.size == (5 * 160, 3 * 174)
        assert (np.asarray(sheet) == (255, 40, 40)).all(axis=2).any()

    def test_manifest(self, root):
        manifest = json.loads((root / MANIFEST).read_text())
        assert manifest["clips"] == {kind: {"train": 3, "test_seen": 2} for kind in ("s4", "ms3")}
        assert manifest["settings"]["seed"] == 0
        assert "Single-source/s4_meta_data.csv" in manifest["files"]
        assert manifest["sources"]["packages"] == ["drawn_1.0 0000"]
        assert not list(root.rglob("*.part*"))
        assert [path.name for path in root.parent.iterdir()] == ["collage"]


class TestReproducible:
    def test_to_the_byte_with_another_number_of_workers(self, sources, root, tmp_path, monkeypatch):
        # Copies of this process: fresh ones would import torch for many seconds.
        fork = get_context("fork")
        monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)
        again = write(tmp_path / "again", sources, **SMALL | {"workers": 2})
        assert content(again) == content(root)

    def test_another_seed_is_another_set(self, sources, root, tmp_path):
        other = write(tmp_path / "other", sources, **SMALL | {"seed": 1, "raw_video": False})
        assert (other / "Multi-sources/clips.json").read_bytes() != (
            root / "Multi-sources/clips.json"
        ).read_bytes()

    def test_interrupted_writing_goes_on(self, sources, root, tmp_path, monkeypatch):
        """Stopped in the fourth clip, the second call writes only what is missing and the result is the same."""
        written, real = [], collage_writer.write_wave

        def stopping(path, waveform):
            if len(written) == 3:
                raise KeyboardInterrupt
            written.append(path)
            real(path, waveform)

        monkeypatch.setattr(collage_writer, "write_wave", stopping)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "collage", sources, **SMALL)
        assert not (tmp_path / "collage").exists()

        def counting(path, waveform):
            written.append(path)
            real(path, waveform)

        monkeypatch.setattr(collage_writer, "write_wave", counting)
        write(tmp_path / "collage", sources, **SMALL)
        assert len(written) == 10
        assert content(tmp_path / "collage") == content(root)

    def test_left_overs_of_other_settings_are_not_used(self, sources, tmp_path, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(collage_writer, "save_montage", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "collage", sources, **SMALL | {"seed": 5, "raw_video": False})
        monkeypatch.undo()
        write(tmp_path / "collage", sources, **SMALL | {"splits": ("val",)})
        assert len(list((tmp_path / "collage").rglob("*.wav"))) == 4


class TestCare:
    def test_what_lies_there_is_kept(self, sources, tmp_path):
        (tmp_path / "thesis.txt").write_text("precious")
        with pytest.raises(UserError, match="is not empty"):
            write(tmp_path, sources, **SMALL)
        with pytest.raises(UserError, match="is not an AVS-Collage"):
            write(tmp_path, sources, **SMALL, force=True)
        with pytest.raises(UserError, match="is a file"):
            write(tmp_path / "thesis.txt", sources, **SMALL)
        assert (tmp_path / "thesis.txt").read_text() == "precious"

    def test_force_replaces_an_older_set(self, sources, tmp_path):
        settings = SMALL | {"splits": ("val",), "clips_per_set": 1}
        write(tmp_path / "c", sources, **settings)
        write(tmp_path / "c", sources, **settings | {"kinds": ("s4",)}, force=True)
        assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
            "Single-source",
            MANIFEST,
        ]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"splits": ("test",)}, "no split 'test'"),
            ({"kinds": ("avss",)}, "no kind 'avss'"),
            ({"size": 33}, "33 pixels"),
            ({"splits": ()}, "nothing to write"),
        ],
    )
    def test_impossible_settings_are_refused_before_anything_is_made(
        self, sources, tmp_path, changes, message
    ):
        with pytest.raises(UserError, match=message):
            write(tmp_path / "c", sources, **SMALL | changes)
        assert list(tmp_path.iterdir()) == []
