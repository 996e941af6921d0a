"""Things of one class told apart, from a film whose answer was drawn to every output."""

import json
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from odd_videos import OddVideo, Track
from PIL import Image
from pycocotools import mask as coco_mask

from ecmvae import VideoPredictor
from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import SoundArray, SourceFrame
from ecmvae.prediction.causal import CausalPredictor
from ecmvae.prediction.named_maps import FoundThings, NamedMaps
from ecmvae.prediction.objects import objects_in
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.saving import write_outputs
from ecmvae.prediction.writers import WRITERS
from ecmvae.visual.normalisation import Normalisation

RATE, SECONDS, SIZE = 8, 6, 20
COLOURS = np.array([[0, 255, 0], [0, 150, 0], [255, 0, 0]], np.uint8)  # two dogs and a cat
OPTIONS = PredictorOptions(smoothing=0.0, fps=4.0, batch=2)


class ColourEngine:
    """Sees coloured things, in another order in every call and at half the resolution, and knows nothing of time."""

    name, image_size, num_frames = "colours", 128, 1
    class_names = ("background", "dog", "cat")
    normalisation = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    sample_rate, seconds = 16_000, 0.25
    calls = 0

    def features(self, waveforms: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(waveforms).mean(axis=1, keepdims=True))

    def logits(
        self, frames: np.ndarray, features: np.ndarray, samples: int, seed: int
    ) -> np.ndarray:
        raise AssertionError

    def with_concepts(self, concepts: str | None) -> "ColourEngine":
        return self

    def name_masks(self, frames: np.ndarray, features: np.ndarray) -> NamedMaps:
        pictures = frames[0, :, :, ::2, ::2]
        maps, things = [], []
        for picture in pictures:
            apart = np.abs(picture[None] - COLOURS[:, :, None, None] / 255).max(axis=1)  # (3, P, P)
            self.calls += 1
            order = [0, 1, 2] if self.calls % 2 else [2, 1, 0]
            seen = [which for which in order if (apart[which] < 0.2).any()]
            masks = (
                np.stack([apart[which] < 0.2 for which in seen])
                if seen
                else np.zeros((0, 64, 64), bool)
            )
            numbers = (
                (masks.argmax(axis=0) + masks.any(axis=0)).astype(np.uint8)
                if seen
                else np.zeros((64, 64), np.uint8)
            )
            classes = np.array([2 if which == 2 else 1 for which in seen], np.uint8)
            things.append(FoundThings(masks, classes, numbers))
            maps.append(np.append(np.uint8(0), classes)[numbers])
        found = np.stack(maps)[None]
        activity = np.ones((1, len(pictures), 2), np.float32)
        return NamedMaps((found > 0).astype(np.float32), found, activity, things)


def places(time: float) -> dict[int, tuple[float, float]]:
    """Upper left corners: the dogs cross, the second one in front; the cat is there a while."""
    way = 100 * time / SECONDS
    there = {0: (4.0, 4 + way), 1: (4.0, 104 - way)}
    return there | {2: (40.0, 60.0)} if 2 <= time < 4.5 else there


def film(path: Path) -> Path:
    frames = np.full((RATE * SECONDS, 64, 128, 3), 60, np.uint8)
    for number, frame in enumerate(frames):
        for which, (top, left) in places(number / RATE).items():
            frame[round(top) : round(top) + SIZE, round(left) : round(left) + SIZE] = COLOURS[which]
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 48_000 * SECONDS)).astype(np.float32)
    return OddVideo(frames, rate=Fraction(RATE), tracks=[Track(sound, codec="aac")]).write(path)


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> VideoResult:
    path = film(tmp_path_factory.mktemp("films") / "crossing.mp4")
    return VideoPredictor(ColourEngine(), options=OPTIONS).predict(path)


def test_every_thing_keeps_its_number_and_class(crossing: VideoResult) -> None:
    things, classes = crossing.things, crossing.classes
    assert things is not None
    assert classes is not None
    seen = set()
    for time, numbers, kinds in zip(crossing.timestamps, things, classes, strict=True):
        there = places(time)
        apart = abs(there[0][1] - there[1][1])
        for which, (top, left) in there.items():
            middle = round(top) + SIZE // 2, round(left) + SIZE // 2
            if which == 0 and apart < SIZE + 6:
                continue  # behind the other one
            if which == 2 and not 2.3 < time < 4.2:
                continue  # the nearest key frame may not show it
            assert numbers[middle] == which + 1
            assert kinds[middle] == (2 if which == 2 else 1)
            seen.add(which)
    assert seen == {0, 1, 2}
    assert set(np.unique(things)) == {0, 1, 2, 3}
    assert ((things > 0) == (classes > 0)).all()


def test_things_keep_their_number_while_a_stream_comes_in() -> None:
    class Noise(SoundArray):
        end = 48_000 * SECONDS

    sound = Noise(np.random.default_rng(0).normal(0, 0.1, Noise.end).astype(np.float32), 48_000)
    causal = CausalPredictor(ColourEngine(), OPTIONS, Letterbox(height=64, width=128, side=128))
    seen = set()
    for number in range(RATE * SECONDS):
        frame = np.full((64, 128, 3), 60, np.uint8)
        there = places(number / RATE)
        for which, (top, left) in there.items():
            frame[round(top) : round(top) + SIZE, round(left) : round(left) + SIZE] = COLOURS[which]
        result, due = causal(SourceFrame(number, number / RATE, 1 / RATE, frame), sound)
        assert result.things is not None
        if not due or abs(there[0][1] - there[1][1]) < SIZE + 6:
            continue  # the last mask stays; or one is behind the other
        for which, (top, left) in there.items():
            assert result.things[round(top) + SIZE // 2, round(left) + SIZE // 2] == which + 1
            seen.add(which)
    assert seen == {0, 1, 2}


def test_supervision_has_the_numbers(crossing: VideoResult) -> None:
    found = crossing.frame(3 * RATE + 4).to_supervision()
    assert found.tracker_id is not None
    assert dict(zip(found.tracker_id.tolist(), found.data["class_name"].tolist(), strict=True)) == {
        1: "dog",
        2: "dog",
        3: "cat",
    }
    assert crossing.frame(0).to_supervision().tracker_id is not None


def test_the_outputs_carry_the_numbers(crossing: VideoResult, tmp_path: Path) -> None:
    wanted = ("overlay", "coco", "jsonl", "parquet", "panoptic", "npz", "masks")
    targets = {name: tmp_path / f"x{WRITERS.get(name).ending}" for name in wanted}
    assert crossing.path is not None
    write_outputs([crossing], crossing.path, targets)
    things, classes = crossing.things, crossing.classes
    assert things is not None
    assert classes is not None

    coco = json.loads(targets["coco"].read_text())
    names = {each["id"]: each["name"] for each in coco["categories"]}
    assert {(each["track_id"], names[each["category_id"]]) for each in coco["annotations"]} == {
        (1, "dog"),
        (2, "dog"),
        (3, "cat"),
    }
    for each in coco["annotations"]:
        mask = coco_mask.decode(
            {**each["segmentation"], "counts": each["segmentation"]["counts"].encode()}
        )
        assert np.array_equal(mask, things[each["image_id"]] == each["track_id"])

    rows = [json.loads(line) for line in targets["jsonl"].read_text().splitlines()]
    table = pyarrow.parquet.read_table(targets["parquet"]).to_pylist()
    assert [row["track_id"] for row in rows] == [row["track_id"] for row in table]
    assert [(row["frame"], row["track_id"]) for row in rows] == [
        (each["image_id"], each["track_id"]) for each in coco["annotations"]
    ]

    panoptic = json.loads((targets["panoptic"] / "panoptic.json").read_text())
    kinds = {each["id"]: each["name"] for each in panoptic["categories"]}
    for place, about in enumerate(panoptic["annotations"]):
        colour = np.asarray(Image.open(targets["panoptic"] / about["file_name"])).astype(int)
        numbers = colour[..., 0] + 256 * colour[..., 1] + 256 * 256 * colour[..., 2]
        assert np.array_equal(numbers, things[place])
        for segment in about["segments_info"]:
            assert segment["area"] == (numbers == segment["id"]).sum()
            assert kinds[segment["category_id"]] == ("cat" if segment["id"] == 3 else "dog")
    assert len(panoptic["annotations"]) == len(panoptic["images"]) == len(crossing)

    with np.load(targets["npz"]) as arrays:
        assert np.array_equal(arrays["things"], things)
    picture = np.asarray(Image.open(targets["masks"] / "000028.png"))
    assert np.array_equal(picture, classes[28])
    assert targets["overlay"].stat().st_size > 1000


def test_objects_of_a_frame() -> None:
    classes = np.array([[1, 1, 1], [2, 2, 0]], np.uint8)
    things = np.array([[7, 4, 0], [300, 300, 9]], np.int32)
    found = objects_in(classes > 0, classes, ("background", "dog", "cat"), things)
    assert [(each.label, each.mask.sum()) for each in found] == [
        ("dog", 1),
        ("dog 4", 1),
        ("dog 7", 1),
        ("cat 300", 2),
    ]
    assert len({each.colour for each in found}) == 4
    assert (found[0].track, found[0].category) == (None, 1)
    assert [each.label for each in objects_in(classes > 0, classes)] == ["class 1", "class 2"]
    assert [each.label for each in objects_in(classes > 0)] == ["sounding object"]
    assert objects_in(np.zeros((2, 3), bool)) == []


def test_memory_does_not_grow_with_a_long_film(tmp_path: Path) -> None:
    """Sixty seconds with a new cat in each."""
    generator = np.random.default_rng(1)

    def frames() -> Iterator[np.ndarray]:
        for number in range(4 * 60):
            frame = np.full((64, 128, 3), 60, np.uint8)
            left = 8 * (number // 4 * 5 % 14)
            frame[20:40, left : left + SIZE] = COLOURS[2]
            yield frame + generator.integers(0, 2, (), np.uint8)

    sound = np.zeros((1, 48_000 * 60), np.float32)
    path = OddVideo(frames(), rate=Fraction(4), tracks=[Track(sound, codec="aac")]).write(
        tmp_path / "long.mp4"
    )
    sizes, last = [], 0
    tracemalloc.start()
    for window in VideoPredictor(ColourEngine(), options=OPTIONS).stream(path):
        assert window.key_things is not None
        last = max(last, int(window.key_things.max()))
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert last > 10
    assert len(sizes) >= 50
    early, late = max(sizes[5:25]), max(sizes[-20:])
    assert late < 1.1 * early


def test_numbers_do_not_depend_on_the_blocks(crossing: VideoResult) -> None:
    assert crossing.path is not None
    whole = VideoPredictor(
        ColourEngine(), options=PredictorOptions(smoothing=0.0, batch=64)
    ).predict(crossing.path)
    assert whole.key_things is not None
    assert crossing.key_things is not None
    np.testing.assert_array_equal(whole.key_things, crossing.key_things)
    windows = list(VideoPredictor(ColourEngine(), options=OPTIONS).stream(crossing.path))
    assert len(windows) > 3
    for before, after in pairwise(windows):
        assert before.key_things is not None
        assert after.key_things is not None
        np.testing.assert_array_equal(before.key_things[-1], after.key_things[0])
