"""The commands over AVSBench folders as a user calls them: miniature, take apart, prepare, check."""

import runpy
import shutil
from pathlib import Path

import pytest
import torch
from prepared import log_mel

from ecmvae import cli
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.layout import read_clips

FOLDER = Path(__file__).parents[2] / "data_prep"


@pytest.fixture(scope="module")
def call():
    """``call("check", folder, ...)`` gives the exit code; "miniature" is `ecmvae data miniature`."""
    mains = {
        name: runpy.run_path(str(FOLDER / f"{name}.py"))["main"] for name in ("avsbench", "check")
    }
    mains["miniature"] = lambda words: cli.main(["data", "miniature", *words])
    return lambda name, *words: mains[name]([str(word) for word in words])


@pytest.fixture(scope="module")
def mini(call, tmp_path_factory):
    root = tmp_path_factory.mktemp("mini") / "root"
    assert call("miniature", root, "--train", 1, "--test", 1) == 0
    return root


def test_prepared_clips_look_like_the_released_ones(call, mini, tmp_path, capsys):
    root = shutil.copytree(mini, tmp_path / "root")
    before = [AVSBenchDataset(root, "ms3", split)[0] for split in ("train", "test")]
    for tree in ("visual_frames", "audio_wav", "audio_log_mel"):
        shutil.rmtree(root / "Multi-sources/ms3_data" / tree)
    assert call("check", root, "--task", "ms3") == 2
    assert call("avsbench", root, "--task", "ms3", "--workers", 1, "--quiet") == 0
    assert "3 done; see preparation.jsonl" in capsys.readouterr().out
    assert call("check", root, "--task", "ms3", "--out", tmp_path / "check.json") == 0
    for clip, old in zip(
        [AVSBenchDataset(root, "ms3", split)[0] for split in ("train", "test")], before, strict=True
    ):
        assert (
            clip.frames.float() - old.frames.float()
        ).abs().mean() < 0.1 * 57  # H.264 and AAC lie in between
        assert (log_mel(clip) - log_mel(old)).abs().mean() < 0.4
        assert torch.equal(clip.masks, old.masks)


def test_missing_video_is_named(call, mini, tmp_path, capsys):
    root = shutil.copytree(mini, tmp_path / "root")
    clip = read_clips(root, "s4", "val")[0]
    clip.raw_video.unlink()
    for path in (clip.wav, clip.log_mel, *(clip.frame(k) for k in range(1, 6))):
        path.unlink()
    assert call("avsbench", root, "--task", "s4", "--quiet", "--workers", 1) == 2
    assert f"skipped {clip.name}: {clip.raw_video}: no such video" in capsys.readouterr().err


def test_miniature_from_a_composed_root(call, tmp_path):
    """Scenes read back from folders with object masks, as AVS-Collage has them."""
    from ecmvae.data.miniature import ShapeScenes, write_miniature

    for task in ("s4", "ms3"):
        write_miniature(
            tmp_path / "collage", task, {"test": 2}, source=ShapeScenes(task, 32), composed=True
        )
    assert (
        call(
            "miniature",
            tmp_path / "mini",
            "--collage",
            tmp_path / "collage",
            "--train",
            1,
            "--test",
            1,
        )
        == 0
    )
    source = AVSBenchDataset(tmp_path / "collage", "s4", "test", image_size=224)[0]
    clip = AVSBenchDataset(tmp_path / "mini", "s4", "train")[0]
    assert torch.equal(clip.masks[0], source.masks[0])
    assert torch.equal(log_mel(clip), log_mel(source))
    assert call("check", tmp_path / "mini" / "AVSS") == 0


def test_miniature_of_another_data_set(call, tmp_path, capsys):
    assert call("miniature", tmp_path / "mini", "--name", "vpo_ss", "--train", 3, "--test", 1) == 0
    assert call("check", tmp_path / "mini", "--task", "vpo_ss") == 0
    assert "vpo_ss: train 3, val 1, test 1" in capsys.readouterr().out
    assert call("miniature", tmp_path / "mini", "--name", "vpo_ss") == 2
    assert "holds VPO-SS already" in capsys.readouterr().err


def test_mistakes_are_one_line(call, tmp_path, capsys):
    assert call("check", tmp_path) == 2
    assert call("avsbench", tmp_path, "--task", "s4") == 2
    assert call("avsbench", tmp_path, "--task", "s4", "--shard", "5/4") == 2
    assert call("miniature", tmp_path / "mini", "--collage", tmp_path) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    assert all("error: " in line for line in lines)
