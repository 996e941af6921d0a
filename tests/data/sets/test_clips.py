"""What single data sets do in their own way; the answers come from arithmetic, pixel loops and other libraries."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ecmvae.audio.encoder import sound_windows
from ecmvae.audio.vggish import VGGishFrontEnd
from ecmvae.config import DataConfig
from ecmvae.data.loading import load_clips
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.rle import compress, decode, run_lengths
from ecmvae.data.sets.clips import middle
from ecmvae.data.sets.miniature import write_set
from ecmvae.data.sets.records import RECORDS
from ecmvae.data.sets.rows import Boxes, MaskFiles, read_rows
from ecmvae.errors import UserError
from ecmvae.visual.normalisation import IMAGENET


def load(name, root, split="test", size=64, **data):
    return load_clips(DataConfig(name=name, root=str(root), image_size=size, **data), split)


@pytest.mark.parametrize("setup", ["vpo_ms", "vpo_msmi"])
def test_vpo_adds_the_middle_three_seconds_of_every_sound(setup, tmp_path):
    write_set(tmp_path, setup, {"test": 1})
    lines = list(csv.DictReader((tmp_path / RECORDS[setup].tables[0]).open()))
    assert len(lines) > 1
    total = np.zeros(48_000)
    for line in lines:
        samples, rate = soundfile.read(tmp_path / "VGGSound/audios" / f"{line['vgg_file']}.wav")
        assert (rate, len(samples)) == (16_000, 160_000)
        total += samples[56_000:104_000]
    (clip,) = load(setup, tmp_path)
    assert np.allclose(clip.waveform.numpy(), total, atol=1e-6)
    # The still stands in the middle of these three seconds, and VGGish hears what is around it.
    window = sound_windows(
        clip.waveform, 16_000, VGGishFrontEnd(), 1, clip.hop_seconds, clip.start_seconds
    )
    assert np.allclose(window[0].numpy(), total[24_000 - 8000 : 24_000 + 8000], atol=1e-6)
    prepared = ClipPreprocessor(VGGishFrontEnd(), IMAGENET)(clip)
    assert torch.equal(prepared.audio, VGGishFrontEnd()(window))


def test_vpo_reads_coco_ids_and_leaves_unlabelled_pixels_out(tmp_path):
    write_set(tmp_path, "vpo_ss", {"test": 1})
    (row,) = read_rows(RECORDS["vpo_ss"], tmp_path)
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:10], pixels[20:30], pixels[40:] = 24, 92, 255  # COCO's zebra, VPO's male, and no label
    Image.fromarray(pixels).save(row.truths[0].paths[0])
    clips = load("vpo_ss", tmp_path)
    (clip,) = clips
    names = [clips.class_names[k] for k in clip.labels[0, :, 0].tolist()]
    assert names == ["zebra"] * 10 + ["background"] * 10 + ["male"] * 10 + ["background"] * 34
    assert clip.ignored[0].all(dim=1).tolist() == [False] * 40 + [True] * 24
    assert (
        clip.masks[0, 0].all(dim=1).tolist()
        == [True] * 10 + [False] * 10 + [True] * 10 + [False] * 34
    )
    pixels[50, 7] = 1  # COCO's person, which VPO has divided into three
    Image.fromarray(pixels).save(row.truths[0].paths[0])
    with pytest.raises(UserError, match=r"value 1 at \(7, 50\) belongs to no class"):
        clips[0]


def test_vpo_ss_is_found_without_a_folder_a_class_too(tmp_path):
    write_set(tmp_path, "vpo_ss", {"test": 1})
    for kind in ("data", "mask"):
        (path,) = (tmp_path / "VPO-SS" / kind).glob("*/*")
        path.rename(path.parents[1] / path.name)
        path.parent.rmdir()
    assert len(load("vpo_ss", tmp_path)[0].frames) == 1


def test_pictures_of_msmi_with_one_instance_a_class_lie_in_ms(tmp_path):
    write_set(tmp_path, "vpo_msmi", {"test": 2})
    folders = [
        row.frames[0].relative_to(tmp_path).parts[0]
        for row in read_rows(RECORDS["vpo_msmi"], tmp_path)
    ]
    assert folders == ["VPO-MSMI", "VPO-MS"]


def test_numbers_that_coco_does_not_have(tmp_path):
    write_set(tmp_path, "vpo_ms", {"test": 1})
    table = tmp_path / "VPO-MS/vpo_ms_data.csv"
    table.write_text(table.read_text().replace("\n1,0,", "\none,0,", 1))
    with pytest.raises(UserError, match="img_Id 'one' is not a number"):
        load("vpo_ms", tmp_path)
    for number in ("9" * 199, "²"):
        table.write_text(f"img_Id,ann_Ids,cateName,vgg_file,split\n{number},0,dog,sound,test\n")
        with pytest.raises(UserError, match=r"img_Id .* is not a number"):
            load("vpo_ms", tmp_path)


@pytest.mark.parametrize(
    "name", [None, 5, "", "..", "a\\b", "x" * 5000, "ü" * 120, "a\nb", "\ud800", ["a"], "a\0b"]
)
def test_names_that_no_file_can_have(tmp_path, name):
    write_set(tmp_path, "is3", {"test": 1})
    path = tmp_path / "IS3_annotation.json"
    lines = json.loads(path.read_text())
    lines[1]["image"] = f"/home/{name}.jpg" if isinstance(name, str) and name else name
    path.write_text(json.dumps(lines))
    with pytest.raises(
        UserError, match=r"IS3_annotation.json, row 1: .* cannot name a file|null character"
    ):
        load("is3", tmp_path)


@pytest.mark.parametrize(
    ("count", "expected"), [(4, [2, 3, 4, 5]), (8, [0, 1, 2, 3, 4, 5, 6, 7]), (10, [0, 1])]
)
def test_middle(count, expected):
    waveform = torch.arange(8.0)
    found = middle(waveform, float(count), rate=1).tolist()
    assert found == expected if count <= 8 else found == [*range(8), *expected]


def test_boxes_are_painted_as_the_released_evaluation_paints_them(tmp_path):
    write_set(tmp_path, "vggss", {"test": 1})
    (name,) = [line["file"] for line in json.loads((tmp_path / "vggss.json").read_text())]
    boxes = [[-0.2, 0.1, 0.333, 0.7], [0.5, 0.5, 1.3, 0.9999]]
    (tmp_path / "vggss.json").write_text(json.dumps([{"file": name, "class": "x", "bbox": boxes}]))
    (clip,) = load("vggss", tmp_path, size=224)
    expected = np.zeros((224, 224))
    # 224 x, cut to the picture, rounded down
    for left, top, right, bottom in ((0, 22, 74, 156), (112, 112, 224, 223)):
        expected[top:bottom, left:right] = 1
    assert np.array_equal(clip.masks[0, 0].numpy(), expected)
    assert clip.start_seconds + 0.5 == 5.0  # the 125th frame of 25 a second


@pytest.mark.parametrize(
    ("box", "message"),
    [
        *(
            ([0.1, 0.2, 0.3], "not a box"),
            ([0.5, 0, 0.5, 1], "no area"),
            ([0, 0, 1, True], "not a box"),
        ),
        *(("box", "not a box"), ([0, 0, 1, 1e999], "not a box"), ([0.9, 0, 0.1, 1], "no area")),
        *(([0, 0, 10**80, 1], "not a box"), ([0, 0, float("nan"), 1], "not a box")),
    ],
)
def test_bad_boxes_are_named(tmp_path, box, message):
    write_set(tmp_path, "vggss", {"test": 1})
    lines = json.loads((tmp_path / "vggss.json").read_text())
    lines[0]["bbox"] = [box]
    (tmp_path / "vggss.json").write_text(json.dumps(lines))
    with pytest.raises(UserError, match=f"vggss.json, row 0: .*{message}"):
        load("vggss", tmp_path)


def test_the_list_of_vggss_chooses_and_must_be_known(tmp_path):
    write_set(tmp_path, "vggss", {"test": 3})
    ids = tmp_path / "vggss_test.csv"
    content = ids.read_text()
    assert not content.endswith("\n")
    ids.write_text(content.splitlines()[1] + ",dog barking")
    assert len(load("vggss", tmp_path)) == 1
    ids.write_text("unknown_000001")
    with pytest.raises(UserError, match="no boxes of 'unknown_000001'"):
        load("vggss", tmp_path)
    ids.unlink()
    assert len(load("vggss", tmp_path)) == 3


def test_negatives_pair_a_picture_with_another_sound_and_have_no_box(tmp_path):
    write_set(tmp_path, "vggss_extended", {"test": 2})
    rows = read_rows(RECORDS["vggss_extended"], tmp_path)
    positives, negatives = rows[:2], rows[2:]
    assert [row.category for row in negatives] == ["non-sounding"] * 2
    assert negatives[0].frames == positives[0].frames
    assert negatives[0].sounds == positives[1].sounds
    clips = load("vggss_extended", tmp_path)
    assert [bool(clip.masks.any()) for clip in clips] == [True, True, False, False]
    assert [clips.classes(k) for k in range(4)] == [("dog barking",)] * 2 + [()] * 2


def test_is3_gives_a_picture_two_sounds_and_two_answers(tmp_path):
    write_set(tmp_path, "is3", {"test": 1})
    for name, size in (("is3", 64), ("is3_boxes", 224)):
        first, second = load(name, tmp_path, size=size)
        assert first.picture == second.picture == "cat_banjo_0"
        assert (first.category, second.category) == ("cat", "banjo")
        # Both are seen, so neither sound will serve as that of something absent.
        assert [set(load(name, tmp_path).classes(k)) for k in range(2)] == [{"cat", "banjo"}] * 2
        assert not torch.equal(first.masks, second.masks)
    # A box holds its mask and touches it on all four sides.
    mask, box = (
        load("is3", tmp_path, size=224)[0].masks[0, 0],
        load("is3_boxes", tmp_path, size=224)[0].masks[0, 0],
    )
    assert torch.equal(mask * box, mask)
    assert torch.equal(mask.any(dim=0), box.any(dim=0))
    assert torch.equal(mask.any(dim=1), box.any(dim=1))


def test_lossy_masks_are_cut_at_half(tmp_path):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[16:48, 16:48] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.jpg", quality=40)
    assert (
        np.asarray(Image.open(tmp_path / "mask.jpg")) > 0
    ).sum() > 32 * 32  # rings around the edges
    read = MaskFiles((tmp_path / "mask.jpg",)).read()
    assert np.array_equal(read > 0, pixels > 0)


def test_aviseg_marks_what_sounds_and_nothing_else(tmp_path):
    write_set(tmp_path, "aviseg", {"test": 2})
    content = json.loads((tmp_path / "test.json").read_text())
    for k, (video, clip) in enumerate(
        zip(content["videos"], load("aviseg", tmp_path), strict=True)
    ):
        tracks = [
            track["segmentations"]
            for track in content["annotations"]
            if track["video_id"] == video["id"]
        ]
        for t in range(5):
            expected = np.zeros((64, 64), bool)
            for masks in tracks:
                if masks[t] is not None:
                    expected |= painted(masks[t]["counts"], 64, 64)
            assert np.array_equal(clip.masks[t, 0].numpy() > 0, expected), (k, t)
        assert any(mask is None for masks in tracks for mask in masks)


def painted(counts, height, width):
    """A run-length mask, pixel by pixel."""
    mask, place, value = np.zeros((height, width), bool), 0, False
    for run in expanded(counts) if isinstance(counts, str) else counts:
        for _ in range(run):
            mask[place % height, place // height] = value
            place += 1
        value = not value
    return mask


def expanded(text):
    """COCO's compressed counts by its definition: six bits a letter, five of them a number's, the sixth says 'more'."""
    runs, bits = [], ""
    for letter in text:
        group = f"{ord(letter) - 48:06b}"
        bits = group[1:] + bits
        if group[0] == "0":
            number = int(bits, 2) - (1 << len(bits) if bits[0] == "1" else 0)
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            bits = ""
    return runs


def test_compressed_runs_of_coco():
    """The example of COCO's own documentation."""
    mask = decode({"size": [9, 10], "counts": "61X13mN000`0"}, (9, 10), "here")
    assert run_lengths(mask) == [6, 1, 40, 4, 5, 4, 5, 4, 21]
    assert compress([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"


@settings(deadline=None)  # the pixel loop is slow on a busy machine
@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_runs_there_and_back(mask):
    runs = run_lengths(mask)
    for counts in (runs, compress(runs)):
        assert np.array_equal(
            decode({"size": list(mask.shape), "counts": counts}, mask.shape, "here"), mask
        )
        assert np.array_equal(painted(counts, *mask.shape), mask)


@pytest.mark.parametrize(
    "counts",
    [
        [3],
        [2, 3],
        [-1, 5],
        [4.0],
        [True, 3],
        "1",
        "o" * 30,
        "\x7f",
        "é",
        "P",
        None,
        {"a": 1},
        [10**30],
        "0" * 10_000,
    ],
)
def test_runs_that_lie_are_refused_before_anything_is_allocated(counts):
    with pytest.raises(UserError, match=r"^x\.json, frame 3: "):
        decode({"size": [2, 2], "counts": counts}, (2, 2), "x.json, frame 3")


@pytest.mark.parametrize("size", [[2, 3], [2], None, "22", [2, 2, 2], [10**9, 10**9]])
def test_masks_of_another_size_are_refused(size):
    with pytest.raises(UserError, match="of 2 x 2 pixels is expected"):
        decode({"size": size, "counts": [4]}, (2, 2), "here")
    with pytest.raises(UserError, match="are not read"):
        decode({"size": [10**6, 10**6], "counts": [10**12]}, (10**6, 10**6), "here")


def test_broken_tracks_are_named(tmp_path):
    write_set(tmp_path, "aviseg", {"test": 1})
    path = tmp_path / "test.json"
    whole = json.loads(path.read_text())

    def refused(change, message):
        content = json.loads(json.dumps(whole))
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            list(load("aviseg", tmp_path))

    refused(lambda c: c["annotations"][0]["segmentations"].pop(), "other than 5 masks")
    refused(lambda c: c["annotations"][0].update(video_id=77), "video 77, which it does not list")
    refused(lambda c: c["videos"][0].update(height="64"), "'64' is not a whole number")
    refused(lambda c: c["videos"][0].update(file_names=[]), "names no files")
    refused(lambda c: c["videos"][0].update(file_names=[None] * 5), "None cannot name a file")
    refused(lambda c: c["videos"].append(c["videos"][0]), "lists a video twice")
    refused(
        lambda c: c["annotations"][0].update(video_id=[1]), r"video \[1\], which it does not list"
    )
    refused(
        lambda c: c["videos"][0].update(height=10**7),
        r"video 1, frame \d: a run-length mask of 64 x 10000000",
    )
    refused(
        lambda c: c["annotations"][0].update(segmentations=["x"] * 5),
        "frame 0: a run-length mask of 64 x 64",
    )


def test_long_videos_are_cut_and_their_sound_with_them(tmp_path):
    write_set(tmp_path, "refavs", {"train": 1, "val": 1})
    samples, _ = soundfile.read(next((tmp_path / "media").glob("*_0_10/audio.wav")))
    clips = load("refavs", tmp_path, "train", num_frames=4)
    assert [name.partition("@")[2] for name in map(clips.name, range(3))] == ["0", "4", "6"]
    # frames 6 and 7 were in the clip before
    assert clips[2].valid.tolist() == [False, False, True, True]
    assert np.allclose(clips[2].waveform.numpy(), samples[6 * 16_000 :], atol=1e-6)
    whole = load("refavs", tmp_path, "train", num_frames=12)
    assert len(whole) == 1
    assert whole[0].frames.shape[0] == 10


def test_referred_objects_are_merged(tmp_path):
    write_set(tmp_path, "refavs", {"train": 1})
    (row,) = read_rows(RECORDS["refavs"], tmp_path)
    assert len(row.truths[0].paths) == row.lines >= 2
    assert Boxes(()).read().sum() == 0
