"""Miniature roots: the released layout to the letter, nothing overwritten, the same for the same seed."""

import pickle

import pytest
import torch
from PIL import Image

from ecmvae.data.layout import read_clips
from ecmvae.data.miniature import CollageScenes, ShapeScenes, write_miniature
from ecmvae.errors import UserError


@pytest.mark.parametrize("task", ["s4", "ms3"])
def test_exactly_the_released_files(tmp_path, task):
    target = write_miniature(
        tmp_path, task, {"train": 1, "test": 1}, source=ShapeScenes(task, 24), raw_video=True
    )
    clips = read_clips(tmp_path, task)
    table = next(target.glob("*.csv"))
    assert (
        table.read_text().splitlines()[0]
        == {"s4": "name,start,category,split", "ms3": "video_id,split"}[task]
    )
    expected = {table}
    for clip in clips:
        masks = 1 if task == "s4" and clip.split == "train" else 5
        expected |= {clip.wav, clip.log_mel, clip.raw_video, *map(clip.frame, range(1, 6))}
        expected |= {clip.mask(k) for k in range(1, masks + 1)}
    assert {path for path in target.rglob("*") if path.is_file()} == expected
    assert Image.open(clips[1].mask(1)).mode == {"s4": "1", "ms3": "P"}[task]
    patches = pickle.loads(clips[0].log_mel.read_bytes())  # we have just written it
    assert patches.requires_grad
    assert (patches.shape, patches.dtype) == ((5, 1, 96, 64), torch.float32)


def test_same_bytes_again(tmp_path):
    for name in "ab":
        write_miniature(
            tmp_path / name,
            "ms3",
            {"train": 2},
            source=ShapeScenes("ms3", 24, seed=4),
            composed=True,
        )
    first = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(first) == 2 * 17 + 2
    for path in first:
        # torch writes an address into a pickle; the wav beside it is compared
        if path.suffix == ".pkl":
            continue
        assert (
            path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
        ), path


def test_never_overwrites_and_leaves_nothing_half_written(tmp_path):
    write_miniature(tmp_path, "s4", {"train": 1}, source=ShapeScenes("s4", 16))
    with pytest.raises(UserError, match="exists already"):
        write_miniature(tmp_path, "s4")

    class Broken(ShapeScenes):
        def scene(self, index):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_miniature(tmp_path, "ms3", source=Broken("ms3"))
    assert [path.name for path in tmp_path.iterdir()] == ["Single-source"]


def test_scenes_come_from_composed_roots_only(tmp_path):
    write_miniature(tmp_path, "s4", {"train": 1}, source=ShapeScenes("s4", 16))
    with pytest.raises(UserError, match=r"has no clips\.json"):
        CollageScenes(tmp_path, "s4")
