"""The data checker against roots with one known fault each."""

import json
import pickle
import re
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from ecmvae.audio.io import write_wave
from ecmvae.data.avss import read_avss
from ecmvae.data.check import expected_files, inspect
from ecmvae.data.command import check_data
from ecmvae.data.layout import read_clips
from ecmvae.data.miniature import ShapeScenes, write_miniature, write_miniature_avss
from ecmvae.data.sets.records import RECORDS
from ecmvae.errors import UserError

COUNTS = {"train": 2, "test": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for task in ("s4", "ms3"):
        write_miniature(root, task, COUNTS, source=ShapeScenes(task, 40))
    return root


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "root")


def findings(root, task="s4"):
    expected = replace(RECORDS[task], expected=COUNTS).differences
    return [(f.severity, f.kind, f.message) for f in inspect(expected_files(root, task), expected)]


def test_nothing_to_find(whole):
    assert findings(whole, "s4") == []
    assert findings(whole, "ms3") == []


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


FAULTS = {
    "missing frame": (lambda clip: clip.frame(2).unlink(), "missing-file", r"_2\.png: missing"),
    "missing mask": (lambda clip: clip.mask(1).unlink(), "missing-file", "gt_masks"),
    "cut frame": (lambda clip: cut(clip.frame(5)), "bad-file", r"_5\.png: cannot be read"),
    "small mask": (
        lambda clip: Image.new("L", (9, 9)).save(clip.mask(1)),
        "bad-file",
        "9 x 9 pixels but",
    ),
    "no sound file": (lambda clip: clip.wav.unlink(), "missing-file", r"\.wav: missing"),
    "broken sound": (
        lambda clip: cut(clip.log_mel),
        "bad-file",
        r"\.pkl: not a pickled plain tensor",
    ),
    "short sound": (
        lambda clip: write_wave(clip.wav, torch.rand(16000)),
        "short-audio",
        r"1\.00 s of sound, 4\.80 s",
    ),
    "few patches": (
        lambda clip: clip.log_mel.write_bytes(pickle.dumps(torch.zeros(4, 1, 96, 64))),
        "bad-file",
        r"shape \(4, 1, 96, 64\) instead of \(5, 1, 96, 64\)",
    ),
    "patches of no number": (
        lambda clip: clip.log_mel.write_bytes(pickle.dumps(torch.full((5, 1, 96, 64), torch.nan))),
        "bad-file",
        "holds NaN or infinity",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("task", ["s4", "ms3"])
def test_errors(root, fault, task):
    damage, kind, message = FAULTS[fault]
    damage(read_clips(root, task, "test")[0])
    ((severity, found, text),) = findings(root, task)
    assert (severity, found) == ("error", kind)
    assert re.search(message, text)
    assert "\n" not in text


def test_warnings(root):
    train, test = read_clips(root, "s4", "train"), read_clips(root, "s4", "test")
    write_wave(train[0].wav, torch.zeros(80000))
    Image.new("1", (40, 40)).save(train[1].mask(1))
    picture = (
        Image.open(train[0].frame(3)).point(lambda v: v * 0.9).resize((80, 80)).resize((40, 40))
    )
    picture.save(test[0].frame(1), quality=80)
    found = findings(root)
    assert [(severity, kind) for severity, kind, _ in found] == [
        ("warning", "silent-audio"),
        ("warning", "empty-mask"),
        ("warning", "near-duplicate"),
    ]
    assert train[0].name in found[2][2]
    assert test[0].name in found[2][2]


def test_grey_pixels_of_masks_are_counted(root):
    clip = read_clips(root, "ms3", "train")[0]
    for k, grey in ((1, 3), (4, 2)):
        mask = Image.new("L", (40, 40))
        for x in range(grey):
            mask.putpixel((x, 0), 128)
        mask.putpixel((9, 9), 255)
        mask.save(clip.mask(k))
    cut(clip.mask(5))
    found = [(kind, message) for _, kind, message in findings(root, "ms3")]
    assert [kind for kind, _ in found] == ["bad-file", "grey-mask"]
    assert found[1][1].endswith(f"{clip.name}: 5 grey pixels, see data.mask_rule")


def test_a_clip_named_twice(root):
    table = root / "Multi-sources/ms3_meta_data.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert ("error", "bad-file") in [found[:2] for found in findings(root, "ms3")]


def test_composed_roots_have_more_files(tmp_path):
    write_miniature(tmp_path, "s4", COUNTS, source=ShapeScenes("s4", 40), composed=True)
    assert findings(tmp_path) == []
    clip = read_clips(tmp_path, "s4", "train")[0]
    clip.mask(4, "object_masks").unlink()
    clip.mask(5).unlink()
    assert [kind for _, kind, _ in findings(tmp_path)] == ["missing-file", "missing-file"]


def test_avss(tmp_path):
    root = write_miniature_avss(
        tmp_path / "root", COUNTS, single=ShapeScenes("s4", 40), several=ShapeScenes("ms3", 40)
    )
    known = replace(RECORDS["avss"], expected={"train": 6, "test": 3}).differences
    assert inspect(expected_files(root, "avss"), known) == []
    clip = read_avss(root, "test")[2]
    Image.new("RGB", (40, 40), (1, 1, 1)).save(clip.label(9))
    (found,) = inspect(expected_files(root, "avss"), known)
    assert "belongs to no class" in found.message


def test_command(root, whole, tmp_path, capsys):
    assert check_data(str(whole), out=str(tmp_path / "found.json")) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["s4"]["clips"] == COUNTS
    # a miniature is not as large as the release
    assert report["ms3"]["findings"][0]["kind"] == "counts"
    clip = read_clips(root, "ms3", "test")[0]
    clip.frame(1).unlink()
    assert check_data(str(root), "ms3") == 2
    told = capsys.readouterr().out
    assert f"error: {clip.frame(1)}: missing" in told
    assert told.splitlines()[-1] == "  1 error, 1 warning"
    with pytest.raises(UserError, match="there is no such folder"):
        check_data(str(tmp_path / "nowhere"))


LOADER = """
import torch
from ecmvae.errors import UserError
from ecmvae.types import AVClip

class Noise:
    def __init__(self, split):
        self.split = split
    def __len__(self):
        return 3
    def __getitem__(self, index):
        if self.split == "val" and index == 1:
            raise UserError("noise.bin: cut short")
        source = torch.Generator().manual_seed(0 if index == 2 else 10 * len(self.split) + index)
        frames = torch.randint(256, (1, 3, 32, 32), generator=source, dtype=torch.uint8)
        masks = torch.full((1, 1, 32, 32), float(index > 0))
        return AVClip(name=f"noise{index}", frames=frames, masks=masks, waveform=torch.rand(16000))

def load(data, split, *, seed):
    assert data.root
    return Noise(split)
"""


def test_a_data_set_from_outside_is_loaded_clip_by_clip(tmp_path, monkeypatch, capsys):
    (tmp_path / "noise_data.py").write_text(LOADER)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "found.json"
    assert check_data(str(tmp_path), "noise_data:load", out=str(out)) == 2
    report = json.loads(out.read_text())["noise_data:load"]
    assert report["clips"] == {"train": 3, "val": 3}
    assert [(found["kind"], found["clip"]) for found in report["findings"]] == [
        ("bad-file", "val[1]"),
        ("empty-mask", "train[0]"),
        ("empty-mask", "val[0]"),
        ("near-duplicate", "train[2]"),
    ]
    assert "error: val[1]: noise.bin: cut short" in capsys.readouterr().out
    assert check_data(str(tmp_path), "noise_data:load", ["train"]) == 0
    with pytest.raises(UserError, match="unknown data set 'lvis': choose from s4, ms3, avss"):
        check_data(str(tmp_path), "lvis")
