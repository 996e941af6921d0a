"""Where AVSBench keeps its files, and which tables are refused."""

import shutil

import pytest

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.layout import read_clips, read_table
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.errors import UserError


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    root = tmp_path_factory.mktemp("released")
    write_miniature(root, "s4", {"train": 1, "val": 1}, source=ShapeScenes("s4", 16))
    return root


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released, tmp_path / "root")


def write(root, task, text):
    folder, name = {
        "s4": ("Single-source", "s4_meta_data.csv"),
        "ms3": ("Multi-sources", "ms3_meta_data.csv"),
    }[task]
    (root / folder).mkdir()
    (root / folder / name).write_text(text)


def paths(clip):
    return [
        str(path.relative_to(clip.base))
        for path in (
            clip.raw_video,
            clip.frame(2),
            clip.wav,
            clip.log_mel,
            clip.mask(5),
            clip.mask(1, "object_masks"),
        )
    ]


def test_places_of_s4(tmp_path):
    write(tmp_path, "s4", "name,start,category,split\n_-a1,3,dog_barking,test\n")
    (clip,) = read_clips(tmp_path, "s4", "test")
    assert clip.base == tmp_path / "Single-source/s4_data"
    assert paths(clip) == [
        "raw_videos/test/dog_barking/_-a1.mp4",
        "visual_frames/test/dog_barking/_-a1/_-a1_2.png",
        "audio_wav/test/dog_barking/_-a1.wav",
        "audio_log_mel/test/dog_barking/_-a1.pkl",
        "gt_masks/test/dog_barking/_-a1/_-a1_5.png",
        "object_masks/test/dog_barking/_-a1/_-a1_1.png",
    ]


def test_places_of_ms3(tmp_path):
    # other order, byte-order mark, a dot in the name
    write(tmp_path, "ms3", "\ufeffsplit,video_id\nval,x.y_1\n")
    (clip,) = read_clips(tmp_path, "ms3")
    assert clip.base == tmp_path / "Multi-sources/ms3_data"
    assert paths(clip) == [
        "raw_videos/x.y_1.mp4",
        "visual_frames/x.y_1/x.y_1.mp4_2.png",
        "audio_wav/val/x.y_1.wav",
        "audio_log_mel/val/x.y_1.pkl",
        "gt_masks/val/x.y_1/x.y_1_5.png",
        "object_masks/val/x.y_1/x.y_1_1.png",
    ]


def test_short_rows_and_other_encodings(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("name,split\nonly_a_name\n")
    with pytest.raises(UserError, match="line 2: split None cannot name a file"):
        read_table(table, ("name", "split"))
    table.write_bytes(b"name,split\n\xff\xfe,train\n")
    with pytest.raises(UserError, match="cannot be read as text"):
        read_table(table, ("name", "split"))
    table.write_text("name,split\n")
    assert read_table(table, ("name", "split")) == []
    table.write_text("")
    with pytest.raises(UserError, match="column 'name' is missing, found none"):
        read_table(table, ("name",))


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("category", "class", "column 'category' is missing, found name, start, class, split"),
        ("mini0000000", "../mini", r"s4_meta_data.csv, line 2: name '../mini' cannot name a file"),
        ("mini0000000", "..", r"line 2: name '\.\.' cannot"),
        ("mini0000000", "", "line 2: name '' cannot"),
    ],
)
def test_bad_tables(copy, old, new, message):
    edit(copy / "Single-source/s4_meta_data.csv", old, new)
    with pytest.raises(UserError, match=message):
        AVSBenchDataset(copy, "s4", "train")
