"""The same tests for every data set that has a record, on miniature roots in its layout."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ecmvae.config import DataConfig
from ecmvae.data import DATASETS
from ecmvae.data.check import inspect
from ecmvae.data.clips import SoundedClips, sound_only
from ecmvae.data.command import check_data
from ecmvae.data.layout import write_table
from ecmvae.data.loading import load_clips
from ecmvae.data.sets.check import recorded_files
from ecmvae.data.sets.miniature import WRITERS, write_set
from ecmvae.data.sets.records import RECORDS, records_in
from ecmvae.data.sets.rows import MaskFiles, read_rows
from ecmvae.errors import UserError
from ecmvae.foreign_text import LARGE

NAMES = sorted(WRITERS)
PAINTED = [name for name in NAMES if RECORDS[name].truth != "boxes" and name != "aviseg"]
"""Those whose truth is in pictures."""


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """A root of every data set, two clips (or pictures) a split."""
    return {name: write_set(tmp_path_factory.mktemp(name), name) for name in NAMES}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def root(wholes, name, tmp_path):
    return shutil.copytree(wholes[name], tmp_path / "root")


def rows_of(name, root):
    record = RECORDS[name]
    splits = [split for split in record.splits if record.lies_in(root, split)]
    return [row for split in splits for row in read_rows(record, root, split)]


def found(name, root):
    return [
        (each.severity, each.kind, each.message)
        for each in inspect(recorded_files(RECORDS[name], root, None))
    ]


def load(name, root, split, **data):
    return load_clips(DataConfig(name=name, root=str(root), image_size=32, **data), split)


def first_table(name, root):
    record = RECORDS[name]
    return record.table(root, record.splits[0])


def test_every_record_says_what_somebody_needs(name):
    record = RECORDS[name]
    assert record.name == name
    assert record.truth in ("masks", "classes", "boxes")
    assert (record.truth == "classes") == bool(record.classes)
    assert all(
        (
            record.licence,
            record.obtain,
            record.citation,
            record.files,
            record.columns,
            record.splits,
        )
    )
    assert {split for names in record.expected for split in names.split("+")} <= set(record.splits)
    assert name in DATASETS


def test_the_layout_is_that_of_the_record(name, wholes):
    """Every file on the disk is one that a row, or the record's tables, name; and the other way round."""
    root = wholes[name]
    named = {path for row in rows_of(name, root) for path in (*row.frames, *row.sounds)}
    named |= {
        path for row in rows_of(name, root) for truth in row.truths if truth for path in truth.paths
    }
    on_disk = {path for path in root.rglob("*") if path.is_file()}
    tables = {path for path in on_disk if path.suffix in (".csv", ".json")}
    # of IS3 when its boxes are read
    masks = {path for path in on_disk if "gt_segmentation" in path.parts}
    assert named <= on_disk
    assert on_disk - named - tables - (masks if name == "is3_boxes" else set()) == set()


def test_clips_of_every_split(name, wholes):
    record = RECORDS[name]
    for split in record.splits:
        clips = load(name, wholes[name], split, num_frames=3)
        assert isinstance(clips, SoundedClips)
        rows = read_rows(record, wholes[name], split)
        frames = 1 if record.stills else 3
        assert len({clips.name(k) for k in range(len(clips))}) == len(clips)
        seen = Counter()
        for k in range(len(clips)):
            clip = clips[k]
            assert clip.name == clips.name(k)
            assert clip.frames.shape == (frames, 3, 32, 32)
            assert clip.frames.dtype == torch.uint8
            assert torch.equal(clip.waveform, clips.waveform(k)[0])
            assert torch.equal(clip.waveform, sound_only(clips, k).waveform)
            assert clip.waveform.abs().max() > 0
            seen[clip.name.partition("@")[0]] += int(clip.valid.sum())
            if split == "test_n":
                assert clip.masks is None
                continue
            assert clip.masks.shape == (frames, 1, 32, 32)
            assert set(clip.masks.unique().tolist()) <= {0.0, 1.0}
            if record.classes:
                assert torch.equal((clip.labels > 0), clip.masks[:, 0] > 0)
                assert int(clip.labels.max()) < len(record.classes)
        # Each frame of each video counts once, however it is cut into clips.
        assert seen == {row.name: len(row.frames) for row in rows}


@pytest.mark.parametrize("name", PAINTED)
def test_masks_are_those_of_the_files(name, wholes):
    """At the files' own size nothing is lost: compared with the pixels, read by Pillow alone."""
    split = RECORDS[name].splits[0]
    clips = load_clips(
        DataConfig(name=name, root=str(wholes[name]), image_size=64, num_frames=10), split
    )
    for row, clip in zip(read_rows(RECORDS[name], wholes[name], split), clips, strict=True):
        for truth, mask in zip(row.truths, clip.masks, strict=True):
            values = [np.asarray(Image.open(path)).astype(int) for path in truth.paths]
            expected = (
                sum(
                    (each != 0) & (each != 255 if name.startswith("vpo") else True)
                    for each in values
                )
                > 0
            )
            assert np.array_equal(mask[0].numpy() > 0, expected)


def test_nothing_to_find_in_a_whole_root(name, wholes, capsys):
    assert found(name, wholes[name]) == []
    assert records_in(wholes[name]) == ["is3" if name == "is3_boxes" else name]
    assert check_data(str(wholes[name]), name, workers=1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{name}: {RECORDS[name].splits[0]} ")


def test_counts_that_differ_from_the_release(name, wholes):
    files = recorded_files(RECORDS[name], str(wholes[name]), None)
    counts = Counter()
    for each in files:
        counts[each.split] += each.counted
    right = replace(RECORDS[name], expected=dict(counts))
    assert inspect(files, right.differences) == []
    wrong = replace(RECORDS[name], expected={"+".join(counts): sum(counts.values()) + 1})
    ((severity, kind, message),) = [
        (f.severity, f.kind, f.message) for f in inspect(files, wrong.differences)
    ]
    assert (severity, kind) == ("warning", "counts")
    assert message.endswith(f"as released: {'+'.join(counts)} {sum(counts.values()) + 1}")


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def bomb(path):
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    Image.new("L", (8, 8)).save(path, format="PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(content)


FILE_FAULTS = {
    "missing picture": ("frames", lambda path: path.unlink(), "missing-file", "missing"),
    "cut picture": ("frames", cut, "bad-file", "cannot be read as a picture"),
    "picture that claims to be huge": ("frames", bomb, "bad-file", "cannot be read as a picture"),
    "missing sound": ("sounds", lambda path: path.unlink(), "missing-file", "missing"),
    "cut sound": (
        "sounds",
        lambda path: path.write_bytes(b"RIFF"),
        "bad-file",
        "cannot be read as sound",
    ),
    "missing mask": ("masks", lambda path: path.unlink(), "missing-file", "missing"),
    "small mask": (
        "masks",
        lambda path: Image.new("L", (9, 9), 18).save(path),
        "bad-file",
        "9 x 9 pixels",
    ),
    "cut mask": ("masks", cut, "bad-file", "cannot be read as a picture"),
}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, fault)
        for name in NAMES
        for fault in FILE_FAULTS
        if FILE_FAULTS[fault][0] != "masks" or name in PAINTED
    ],
)
def test_faults_of_files(name, root, fault):
    where, damage, kind, message = FILE_FAULTS[fault]
    row = rows_of(name, root)[-1 if name != "refavs" else 0]
    truths = [truth for truth in row.truths if isinstance(truth, MaskFiles)]
    paths = {
        "frames": row.frames,
        "sounds": row.sounds,
        "masks": truths[0].paths if truths else (),
    }[where]
    damage(paths[-1])
    findings = found(name, root)
    # Two clips may share a recording (the negatives of VGG-SS); every finding is about the same file.
    assert findings
    for severity, found_kind, text in findings:
        assert (severity, found_kind) == ("error", kind)
        assert str(paths[-1]) in text
        assert message in text
        assert "\n" not in text
    clips = load(name, root, row.split, num_frames=10)
    index = next(k for k in range(len(clips)) if clips.name(k) == row.name)
    with pytest.raises(UserError, match=paths[-1].name):
        clips[index]


def change_table(path, change):
    """Change the rows of a csv, or of a JSON list, each a dictionary."""
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.open()))
        change(rows)
        write_table(path, rows)
    else:
        content = json.loads(path.read_text())
        change(content["videos"] if isinstance(content, dict) else content)
        path.write_text(json.dumps(content))


NAMING = {
    "is3": "image",
    "is3_boxes": "image",
    "vggss": "file",
    "vggss_extended": "video",
    "aviseg": "file_names",
}
"""Column that names files; of the others it is `split` or one below."""


def test_a_missing_column_is_named(name, root, capsys):
    column = {"aviseg": "height", "refavs": "fid"}.get(name, RECORDS[name].columns[-1])
    change_table(first_table(name, root), lambda rows: [row.pop(column) for row in rows])
    with pytest.raises(UserError, match=column) as error:
        check_data(str(root), name)
    assert str(first_table(name, root)) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_path_leaves_the_root(name, root):
    column = NAMING.get(name, "uid" if name == "refavs" else "vgg_file")
    evil = {"file_names": ["../../x.jpg"] * 5, "image": "/somewhere/..", "uid": "../../x_1_2"}.get(
        column, "../x"
    )

    def change(rows):
        rows[0][column] = evil

    change_table(first_table(name, root), change)
    with pytest.raises(UserError, match="cannot name a file"):
        check_data(str(root), name)


def test_unreadable_tables_are_one_line(name, root):
    table = first_table(name, root)
    for content in (
        b"",
        b"\xff\xfe\x00",
        b"[[[",
        b"name\n",
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    ):
        table.write_bytes(content)
        with pytest.raises(UserError) as error:
            check_data(str(root), name)
        assert "\n" not in str(error.value)
        assert table.name in str(error.value)


def test_a_table_that_is_too_large_is_not_read(name, root, monkeypatch):
    assert LARGE < 10**8
    monkeypatch.setattr("ecmvae.data.sets.aviseg.TABLE_LIMIT", LARGE)
    table = first_table(name, root)
    with table.open("r+b") as file:
        file.truncate(LARGE + 1)  # sparse: it takes no room on the disk
    with pytest.raises(UserError, match="larger than 64 MB"):
        check_data(str(root), name)


def test_who_lacks_it_is_told_how_to_obtain_it(name, tmp_path):
    record = RECORDS[name]
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError) as error:
            check_data(str(place), name)
        message = str(error.value)
        assert record.licence in message
        assert record.obtain in message
        assert message.startswith(f"{place}: ")
        assert "\n" not in message
    with pytest.raises(UserError, match=r"--data\.root FOLDER"):
        load_clips(DataConfig(name=name), "test")


def test_a_split_that_does_not_exist(name, wholes):
    with pytest.raises(
        UserError, match=r"no clip has split 'tset'; choose from|holds no tset\.json"
    ):
        load(name, wholes[name], "tset")


def test_a_miniature_overwrites_nothing(name, wholes):
    with pytest.raises(UserError, match="already; choose another folder"):
        write_set(wholes[name], name)


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"no miniature of 'vpo': choose from vpo_ss, vpo_ms"):
        write_set(tmp_path, "vpo")
    with pytest.raises(UserError, match=r"unknown data set 'vpo_s'.*\(did you mean vpo_ss\?\)"):
        check_data(str(tmp_path), "vpo_s")
    with pytest.raises(
        UserError, match=r"holds none of Single-source/s4_meta_data.csv.*VPO-SS/vpo_ss_data.csv"
    ):
        check_data(str(tmp_path))
