"""Packed clips equal the clips they were packed from, and what is damaged is found and named."""

import errno
import json
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from collage_fixture import make_sources

from ecmvae import cli
from ecmvae.config import DataConfig
from ecmvae.data import packing
from ecmvae.data.clips import SoundedClips, sound_only
from ecmvae.data.collage.writer import CollageSettings, write_collage
from ecmvae.data.command import check_data, pack
from ecmvae.data.loading import load_clips
from ecmvae.data.miniature import ShapeScenes, write_miniature, write_miniature_avss
from ecmvae.data.packed import INDEX, PackedClips, PackedIndex
from ecmvae.data.packed_shards import encode
from ecmvae.data.sets.miniature import write_set
from ecmvae.errors import UserError
from ecmvae.types import AVClip

SIDE = 32


def _equal(mine: AVClip, theirs: AVClip) -> None:
    for field in fields(AVClip):
        a, b = getattr(mine, field.name), getattr(theirs, field.name)
        if isinstance(b, torch.Tensor):
            assert a.dtype == b.dtype, field.name
            assert torch.equal(a, b), field.name
        else:
            assert a == b, field.name


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """S4 as released: three training clips with the first mask alone, one to validate with."""
    root = tmp_path_factory.mktemp("mini")
    write_miniature(root, "s4", {"train": 3, "val": 1}, source=ShapeScenes("s4", SIDE))
    return root


@pytest.fixture
def packed(miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, packed into shards of two clips."""
    for module in ("packed", "packing"):
        monkeypatch.setattr(f"ecmvae.data.{module}.CLIPS_PER_SHARD", 2)
    return _packed(miniature, tmp_path / "packed", "s4")


def _packed(
    root: Path, out: Path, task: str, num_frames: int | None = None, hop: float = 0.96
) -> Path:
    assert pack(str(root), str(out), task, None, SIDE, num_frames, hop, workers=1) == 0
    return out


def _config(root: Path, **settings: object) -> DataConfig:
    return replace(DataConfig(name="packed", root=str(root), image_size=SIDE), **settings)


def _collage(folder: Path) -> Path:
    sources = make_sources(folder / "sources")
    small = CollageSettings(
        size=SIDE, splits=("train", "val"), clips_per_set=2, train_clips=2, raw_video=False
    )
    return write_collage(folder / "collage", sources, small, workers=1, progress=False)


SETS: dict[str, tuple[Callable[[Path], Path], str, int, float]] = {
    "s4": (lambda folder: _root(folder, "s4"), "s4", 5, 0.96),
    "s4 from its sound": (lambda folder: _root(folder, "s4"), "s4", 5, 1.0),
    "ms3": (lambda folder: _root(folder, "ms3"), "ms3", 5, 0.96),
    "avss": (
        lambda folder: write_miniature_avss(folder / "avss", single=ShapeScenes("s4", 48)),
        "avss",
        10,
        0.96,
    ),
    "collage": (_collage, "ms3", 5, 1.0),
    "vpo": (lambda folder: write_set(folder / "vpo", "vpo_ss"), "vpo_ss", 1, 1.0),
    "aviseg": (lambda folder: write_set(folder / "aviseg", "aviseg"), "aviseg", 3, 1.0),
}


def _root(folder: Path, task: str) -> Path:
    write_miniature(folder, task, {"train": 2, "val": 1, "test": 1}, source=ShapeScenes(task, 48))
    return folder


@pytest.mark.parametrize("case", SETS)
def test_every_field_of_every_clip_is_that_of_the_files(tmp_path: Path, case: str) -> None:
    """At the packed size, where the files are of another size, too."""
    make, task, frames, hop = SETS[case]
    root = make(tmp_path)
    out = _packed(root, tmp_path / "packed", task, frames, hop)
    wanted = _config(root, name=task, num_frames=frames, hop_seconds=hop)
    index = PackedIndex.read(out)
    assert index.splits
    for split in index.splits:
        files, clips = (
            load_clips(wanted, split),
            load_clips(replace(wanted, name="packed", root=str(out)), split),
        )
        assert isinstance(clips, PackedClips)
        assert isinstance(clips, SoundedClips)
        assert len(clips) == len(files)
        assert clips.class_names == getattr(files, "class_names", ())
        for number in range(len(files)):
            _equal(clips[number], files[number])
            _equal(sound_only(clips, number), sound_only(files, number))
            assert clips.classes(number) == files.classes(number)
    by_its_own_name = load_clips(replace(wanted, root=str(out)), "train")
    assert isinstance(by_its_own_name, PackedClips)


@pytest.mark.parametrize("rule", ["auto", "first", "all"])
def test_supervised_means_what_it_means_for_the_files(tmp_path: Path, rule: str) -> None:
    root = _collage(tmp_path)
    out = _packed(root, tmp_path / "packed", "s4", hop=1.0)
    wanted = _config(root, name="s4", hop_seconds=1.0, supervised=rule)
    for split in ("train", "val"):
        _equal(load_clips(replace(wanted, root=str(out)), split)[0], load_clips(wanted, split)[0])


def test_all_masks_of_s4_are_not_there(packed: Path) -> None:
    with pytest.raises(UserError, match=r"not every frame has a mask, but data\.supervised is all"):
        load_clips(_config(packed, supervised="all"), "train")


def test_masks_are_bits_and_sounds_are_samples(miniature: Path) -> None:
    clip = load_clips(_config(miniature, name="s4"), "val")[0]
    parts = encode(clip)
    assert parts["masks"].nbytes == 5 * SIDE * SIDE // 8
    assert parts["waveform"].dtype == torch.int16
    soft = encode(replace(clip, masks=clip.masks * 0.5, waveform=clip.waveform * 0.33))
    assert soft["masks"].dtype == soft["waveform"].dtype == torch.float32


def test_packed_again_everything_is_kept(
    packed: Path, miniature: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in packed.glob("*.safetensors")}
    assert sorted(before) == [
        "train-00000.safetensors",
        "train-00001.safetensors",
        "val-00000.safetensors",
    ]
    _packed(miniature, packed, "s4")
    assert {path.name: path.stat().st_mtime_ns for path in packed.glob("*.safetensors")} == before
    assert "0 shards packed, 3 kept" in capsys.readouterr().out


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a bit of a picture": lambda path: _flip(path, -1000),
    "a bit of the header": lambda path: _flip(path, 60),
    "its length": lambda path: _flip(path, 5),
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_torn_shard_is_named_and_packing_again_mends_it(
    packed: Path, miniature: Path, damage: str
) -> None:
    whole = [load_clips(_config(packed), "train")[k] for k in range(3)]
    shard = packed / "train-00000.safetensors"
    others = (packed / "train-00001.safetensors").stat().st_mtime_ns
    DAMAGE[damage](shard)
    clips = load_clips(_config(packed), "train")
    with pytest.raises(
        UserError,
        match=r"train-00000\.safetensors: damaged shard .*run the same ecmvae data pack again",
    ):
        [clips[number] for number in range(2)]
    _equal(clips[2], whole[2])  # the other shard is as it was
    assert check_data(str(packed)) == 2
    _packed(miniature, packed, "s4")
    assert check_data(str(packed)) == 0
    for number, clip in enumerate(whole):
        _equal(load_clips(_config(packed), "train")[number], clip)
    assert (packed / "train-00001.safetensors").stat().st_mtime_ns == others


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is of version 2, this ecmvae reads 1: pack the data again"),
        ({"format": "other"}, "is not an index of packed clips"),
        ({"image_size": "large"}, "is damaged"),
        ({"splits": {}}, "split 'train' is not packed"),
        (
            {"splits": {"train": {"names": ["a"] * 10**5, "classes": [], "shards": []}}},
            "do not fit its shards",
        ),
        ({"image_size": 10**9}, "set it to 1000000000"),
        ({"num_frames": 3}, "was packed with num_frames 3, but data.num_frames is 5"),
    ],
)
def test_an_index_that_lies_is_refused(
    packed: Path, change: dict[str, object], message: str
) -> None:
    index = json.loads((packed / INDEX).read_text())
    (packed / INDEX).write_text(json.dumps(index | change))
    with pytest.raises(UserError, match=message):
        load_clips(_config(packed), "train")


def test_an_index_cannot_point_outside_its_folder(packed: Path) -> None:
    index = json.loads((packed / INDEX).read_text())
    index["splits"]["train"]["shards"][0]["file"] = "../outside.safetensors"
    (packed / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="do not fit its shards"):
        load_clips(_config(packed), "train")


def test_sizes_other_than_the_indexs_are_refused(packed: Path) -> None:
    index = json.loads((packed / INDEX).read_text())
    (packed / INDEX).write_text(json.dumps(index | {"image_size": 64}))
    with pytest.raises(UserError, match=r"frames has shape \(5, 3, 32, 32\), not \(5, 3, 64, 64\)"):
        load_clips(_config(packed, image_size=64), "train")[0]


def test_packing_that_was_cut_off_goes_on(
    miniature: Path,
    packed: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, plain = tmp_path / "second", Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith(".train-00001"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        argv = [
            "data",
            "pack",
            str(miniature),
            "--out",
            str(out),
            "--image_size",
            str(SIDE),
            "--workers",
            "1",
        ]
        assert cli.main(argv) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ecmvae: ")]
    assert "train-00001.safetensors cannot be written: No space left on device" in line
    assert sorted(path.name for path in out.iterdir()) == ["pack.lock", "train-00000.safetensors"]
    with pytest.raises(UserError, match="packing was not finished"):
        load_clips(_config(out), "train")
    assert cli.main(argv) == 0
    assert "2 shards packed, 1 kept" in capsys.readouterr().out
    assert PackedIndex.read(out).to_dict() == PackedIndex.read(packed).to_dict()


def test_a_clip_that_cannot_be_read_leaves_the_others_packed(
    miniature: Path, packed: Path, tmp_path: Path
) -> None:
    root = tmp_path / "damaged"
    write_miniature(root, "s4", {"train": 3, "val": 1}, source=ShapeScenes("s4", SIDE))
    (picture,) = root.glob("**/visual_frames/train/*/mini0000000/*_3.png")
    picture.write_bytes(picture.read_bytes()[:50])
    with pytest.raises(
        UserError,
        match=r"mini0000000_3\.png: cannot be read .*mend it and run the same command again",
    ):
        _packed(root, tmp_path / "half", "s4")
    assert len(list((tmp_path / "half").glob("*.safetensors"))) == 2


def test_what_cannot_be_packed(miniature: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is packed already"):
        _packed(packed, tmp_path / "again", "s4")
    with pytest.raises(UserError, match="composed afresh every epoch"):
        packing.pack_data(str(tmp_path), str(tmp_path / "x"), "synthetic", None, SIDE, 5, 1.0, 1)
    with pytest.raises(UserError, match="holds other files"):
        _packed(miniature, miniature, "s4")
    with pytest.raises(UserError, match="holds s4 packed, not ms3"):
        load_clips(_config(packed, name="ms3"), "train")
    write_miniature(tmp_path / "two", "s4", {"train": 1}, source=ShapeScenes("s4", SIDE))
    write_miniature(tmp_path / "two", "ms3", {"train": 1}, source=ShapeScenes("ms3", SIDE))
    with pytest.raises(UserError, match="holds s4 and ms3: say which one to pack with --task"):
        _packed(tmp_path / "two", tmp_path / "y", "auto")


def test_clips_go_to_other_processes_without_their_open_files(packed: Path) -> None:
    clips = load_clips(_config(packed), "train")
    first = clips[0]
    _equal(pickle.loads(pickle.dumps(clips))[0], first)


def test_what_a_clip_is_given_changes_no_file(packed: Path) -> None:
    """Its numbers lie in a memory map; writing into them must reach neither the disk nor the next reader."""
    clips = load_clips(_config(packed), "train")
    clip = load_clips(_config(packed), "train")[0]
    for field in fields(AVClip):
        if isinstance(value := getattr(clips[0], field.name), torch.Tensor):
            value.zero_()
    _equal(clips[0], clip)
    _equal(load_clips(_config(packed), "train")[0], clip)
