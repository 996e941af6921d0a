"""Raw videos to clips: which frame is taken, what is heard, and what an interrupted run does next."""

import json
import os
import shutil
import signal
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

import ecmvae.data.prepare as prepare_module
from ecmvae.audio.io import read_wave
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.layout import read_clips
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.prepare import MANIFEST, PrepareSettings, prepare, sample_frames
from ecmvae.data.safe_pickle import load_tensor
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.shards import Shard

SIDE = 64
SMALL = PrepareSettings(size=32)


def numbered(count):
    """Frames that carry their own number as eight black or white stripes."""
    for number in range(count):
        stripes = np.array([255 * (number >> bit & 1) for bit in range(8)], np.uint8)
        yield np.repeat(np.tile(np.repeat(stripes, SIDE // 8), (SIDE, 1))[..., None], 3, axis=2)


def number_of(picture):
    step = picture.shape[1] // 8
    middle = picture[picture.shape[0] // 2, step // 2 :: step, 0] > 127
    return int((middle * 2 ** np.arange(8)).sum())


def sound(seconds):
    return (0.3 * np.sin(2 * np.pi * 880 * np.arange(int(seconds * 16000)) / 16000)).astype(
        np.float32
    )


@pytest.mark.parametrize(
    ("fps", "frames", "released", "exact"),
    [
        (Fraction(24), 120, [22, 46, 70, 94, 118], [22, 46, 70, 94, 118]),
        # 29.97 counts as 30, so the released frame runs ahead of the clock; 4 * 30 + 28 = 148 is past the end
        (Fraction(30000, 1001), 150, [28, 58, 88, 118, 148], [28, 58, 88, 118, 147]),
        (Fraction(25, 2), 63, [11, 23, 35, 47, 59], [11, 24, 36, 49, 61]),  # 12.5 counts as 12
        (
            Fraction(10),
            33,
            [9, 19, 29, 32, 32],
            [9, 19, 29, 32, 32],
        ),  # too short: the last frame again
    ],
)
def test_which_frame_stands_for_a_second(tmp_path, fps, frames, released, exact):
    write_video(tmp_path / "clip.mp4", numbered(frames), fps)
    for rule, expected in (("released", released), ("exact", exact)):
        pictures = sample_frames(tmp_path / "clip.mp4", PrepareSettings(rule=rule))
        assert [number_of(picture) for picture in pictures] == expected


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A root with raw videos and masks only: one good clip, one without sound, one too short, one missing."""
    root = tmp_path_factory.mktemp("raw")
    write_miniature(root, "s4", {"train": 4}, source=ShapeScenes("s4", 32))
    clips = read_clips(root, "s4")
    for tree in ("visual_frames", "audio_wav", "audio_log_mel"):
        shutil.rmtree(clips[0].base / tree)
    for clip, seconds, waveform in zip(
        clips, (5, 5, 0.5), (sound(5), None, sound(0.5)), strict=False
    ):
        clip.raw_video.parent.mkdir(parents=True, exist_ok=True)
        write_video(
            clip.raw_video,
            numbered(int(seconds * 10)),
            10,
            waveform,
            None if waveform is None else 16000,
        )
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def last_rows(path):
    return {row["clip"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_files_and_manifest(root):
    results = prepare(root, "s4", SMALL, progress=False)
    clips = read_clips(root, "s4")
    assert [results[clip.name].status for clip in clips] == ["done", "done", "skipped", "skipped"]
    assert [results[clip.name].silent for clip in clips[:2]] == [False, True]
    assert "too short" in results[clips[2].name].reason
    assert "no such video" in results[clips[3].name].reason
    good = clips[0]
    pictures = [np.asarray(Image.open(good.frame(k))) for k in range(1, 6)]
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 5
    assert [number_of(picture) for picture in pictures] == [9, 19, 29, 39, 49]
    heard, rate = read_wave(good.wav)
    assert (len(heard), rate) == (80000, 16000)
    patches = load_tensor(good.log_mel)
    assert torch.equal(patches, log_mel_patches(heard))
    assert (
        patches - log_mel_patches(torch.from_numpy(sound(5)))
    ).abs().median() < 0.1  # AAC in between
    last = last_rows(root / "Single-source" / MANIFEST)
    assert [last[clip.name]["status"] for clip in clips] == ["done", "done", "skipped", "skipped"]
    assert last[good.name]["settings"]["rule"] == "released"
    assert last[good.name]["fps"] == 10
    assert len(last[good.name]["sha256"]) == 64
    assert last[clips[2].name]["error"] == results[clips[2].name].reason


def test_goes_on_where_it_stopped(root):
    clips = read_clips(root, "s4")
    prepare(root, "s4", SMALL, progress=False)
    stamp = clips[0].frame(1).stat().st_mtime_ns
    clips[1].frame(3).unlink()  # as if it had been killed half-way
    write_video(clips[2].raw_video, numbered(50), 10, sound(5), 16000)  # a better copy has come in
    results = prepare(root, "s4", SMALL, progress=False)
    assert [results[clip.name].status for clip in clips] == ["kept", "done", "done", "skipped"]
    assert clips[0].frame(1).stat().st_mtime_ns == stamp
    assert clips[1].frame(3).is_file()
    with pytest.raises(UserError, match="was done with rule 'released', not 'exact'"):
        prepare(root, "s4", PrepareSettings(rule="exact", size=32), progress=False)
    again = prepare(root, "s4", PrepareSettings(rule="exact", size=32), force=True, progress=False)
    assert again[clips[0].name].status == "done"


def test_a_killed_run_knows_its_own_files(root, monkeypatch):
    clips = read_clips(root, "s4")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ecmvae.data.prepare.read_wave", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(root, "s4", SMALL, progress=False)
    assert clips[0].wav.is_file()  # half of the clip is there
    monkeypatch.undo()
    assert prepare(root, "s4", SMALL, progress=False)[clips[0].name].status == "done"


def test_a_power_cut_costs_the_clip_that_was_in_work_alone(root, monkeypatch):
    """Rows are written when a clip is finished, not at the end of the call."""
    clips = read_clips(root, "s4")
    real = prepare_module._prepare_one

    def dying(job, settings):
        if job[0].name == clips[1].name:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, settings)

    child = os.fork()
    if child == 0:
        prepare_module._prepare_one = dying
        prepare(root, "s4", SMALL, progress=False)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    statuses = [result.status for result in prepare(root, "s4", SMALL, progress=False).values()]
    assert statuses == ["kept", "done", "skipped", "skipped"]


def test_bad_videos_are_rows_and_tried_again_only_when_asked(root, monkeypatch):
    bad = read_clips(root, "s4")[2]
    prepare(root, "s4", SMALL, progress=False)
    path = root / "Single-source" / MANIFEST
    before, looked_at = path.read_text(), []
    real = prepare_module.probe
    monkeypatch.setattr(prepare_module, "probe", lambda path: looked_at.append(path) or real(path))
    assert "too short" in prepare(root, "s4", SMALL, progress=False)[bad.name].reason
    assert (looked_at, path.read_text()) == ([], before)
    assert (
        "too short"
        in prepare(root, "s4", SMALL, progress=False, retry_failed=True)[bad.name].reason
    )
    assert bad.raw_video in looked_at


def test_shards_make_every_clip_once(root, tmp_path):
    for number in (2, 1):
        prepare(root, "s4", SMALL, progress=False, shard=Shard(number, 2))
    folder = root / "Single-source"
    rows = [last_rows(folder / f"preparation.{number}-of-2.jsonl") for number in (1, 2)]
    names = [clip.name for clip in read_clips(root, "s4")]
    assert [set(each) for each in rows] == [set(names[::2]), set(names[1::2])]
    moved = root.rename(tmp_path / "moved")  # what was made stays ours
    statuses = [result.status for result in prepare(moved, "s4", SMALL, progress=False).values()]
    assert statuses == ["kept", "kept", "skipped", "skipped"]


def test_foreign_files_are_left_alone(root):
    clip = read_clips(root, "s4")[0]
    clip.frame(1).parent.mkdir(parents=True)
    Image.new("RGB", (7, 7)).save(clip.frame(1))
    result = prepare(root, "s4", SMALL, progress=False)[clip.name]
    assert (result.status, result.reason) == (
        "skipped",
        "frames or sound exist and were not made here",
    )
    assert Image.open(clip.frame(1)).size == (7, 7)
    assert prepare(root, "s4", SMALL, progress=False, force=True)[clip.name].status == "done"


def test_short_sound_repeats_its_last_patch(root):
    clip = read_clips(root, "s4")[0]
    write_video(clip.raw_video, numbered(25), 10, sound(2.5), 16000)
    prepare(root, "s4", SMALL, progress=False)
    patches = load_tensor(clip.log_mel)
    assert patches.shape == (5, 1, 96, 64)
    assert torch.equal(patches[1], patches[4])
    assert not torch.equal(patches[0], patches[1])


@pytest.mark.slow
def test_processes_make_the_same(root):
    one = prepare(root, "s4", SMALL, progress=False, force=True)
    frame = read_clips(root, "s4")[0].frame(2).read_bytes()
    two = prepare(root, "s4", SMALL, progress=False, force=True, workers=2)
    assert one == two
    assert read_clips(root, "s4")[0].frame(2).read_bytes() == frame
