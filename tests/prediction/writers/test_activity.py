"""When what sounds, as tables, timelines and detections: against plain loops, and read back by other libraries."""

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import opentimelineio
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from hypothesis import given
from hypothesis import strategies as some

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.spans import LONGEST_GAP, Span, SpanCollector
from ecmvae.prediction.writers import WRITERS, writer_for

HEIGHT, WIDTH, SIDE = 90, 120, 24
NAMES = ("background", "dog", 'a, "b"')


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "flash.mp4"
    write_video(path, flash_frames(WIDTH, HEIGHT), FPS, beep(), SAMPLE_RATE)
    return path


def result_of(
    path: Path | None, activity: np.ndarray | None, classes: np.ndarray | None, marked: np.ndarray
):
    """A result whose key frames are all frames; `marked` (F,) says in which the left half is in the mask."""
    count = len(marked)
    maps = np.zeros((count, SIDE, SIDE), np.float16)
    maps[marked, :, : SIDE // 2] = 0.75
    times = np.arange(count) / FPS
    return VideoResult(
        path=path,
        geometry=Letterbox(height=HEIGHT, width=WIDTH, side=SIDE, squash=True),
        threshold=0.5,
        first_index=0,
        audio_track=0,
        timestamps=times,
        audio_activity=np.linspace(0, 1, count).astype(np.float32),
        key_times=times,
        key_probabilities=maps,
        key_classes=classes,
        class_names=() if classes is None else NAMES,
        key_activity=activity,
    )


@pytest.fixture
def named(video: Path) -> VideoResult:
    """48 frames; the dog sounds in frames 10 to 29, the other one in 25 to 47."""
    activity = np.zeros((48, 2), np.float16)
    activity[10:30, 0], activity[25:, 1] = 0.875, 0.75
    classes = np.ones((48, SIDE, SIDE), np.uint8)
    classes[:, SIDE // 2 :] = 2
    return result_of(video, activity, classes, np.arange(48) >= 10)


def test_the_table_says_what_each_frame_says(named: VideoResult, tmp_path: Path) -> None:
    with named.save(tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert list(rows[0]) == ["frame", "time", "loudness", "area", *NAMES[1:]]
    for frame, row in zip(named, rows, strict=True):
        assert (int(row["frame"]), float(row["time"])) == (
            frame.index,
            pytest.approx(frame.time, abs=1e-4),
        )
        assert float(row["loudness"]) == pytest.approx(frame.audio_activity, abs=1e-4)
        assert float(row["area"]) == pytest.approx(frame.mask.mean(), abs=1e-4)
        assert [float(row[name]) for name in NAMES[1:]] == pytest.approx(
            frame.class_activity.tolist(), abs=1e-3
        )


def test_without_activities_a_class_has_its_share_of_the_picture(
    video: Path, tmp_path: Path
) -> None:
    classes = np.ones((48, SIDE, SIDE), np.uint8)
    classes[:, SIDE // 2 :] = 2
    result = result_of(video, None, classes, np.arange(48) % 2 == 0)
    with result.save(tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for frame, row in zip(result, rows, strict=True):
        for number, name in enumerate(NAMES[1:], 1):
            assert float(row[name]) == pytest.approx((frame.classes == number).mean(), abs=1e-4)
    plain = result_of(video, None, None, np.ones(48, bool)).save(tmp_path / "b.csv").read_text()
    assert plain.splitlines()[0] == "frame,time,loudness,area"


def markers(path: Path) -> list[tuple[str, float, float]]:
    (clip,) = opentimelineio.adapters.read_from_file(str(path)).find_clips()
    return [
        (
            each.name,
            each.marked_range.start_time.to_seconds(),
            each.marked_range.end_time_exclusive().to_seconds(),
        )
        for each in clip.markers
    ]


def test_a_timeline_has_a_marker_for_each_span(named: VideoResult, tmp_path: Path) -> None:
    path = named.save(tmp_path / "a.otio")
    expected = [("dog", 10 / FPS, 30 / FPS), (NAMES[2], 25 / FPS, 48 / FPS)]
    found = markers(path)
    assert [name for name, _, _ in found] == [name for name, _, _ in expected]
    assert np.allclose(
        [each[1:] for each in found], [each[1:] for each in expected], atol=0.5 / FPS
    )
    (clip,) = opentimelineio.adapters.read_from_file(str(path)).find_clips()
    assert clip.media_reference.target_url == "flash.mp4"
    assert clip.duration().to_seconds() == pytest.approx(48 / FPS, abs=0.5 / FPS)


def test_an_edit_decision_list_says_where_each_span_starts(
    named: VideoResult, tmp_path: Path
) -> None:
    text = named.save(tmp_path / "a.edl").read_text()
    locators = [line.split() for line in text.splitlines() if line.startswith("* LOC:")]
    assert [(line[2], line[4]) for line in locators] == [
        (f"00:00:00:{round(10 / FPS * FPS):02d}", "DOG"),
        (f"00:00:0{25 // FPS}:{25 % FPS:02d}", "A,"),
    ]


def test_what_marks_without_names_is_one_marker(video: Path, tmp_path: Path) -> None:
    result = result_of(video, None, None, np.arange(48) < 20)
    assert [name for name, _, _ in markers(result.save(tmp_path / "a.otio"))] == ["sound"]
    silent = result_of(video, None, None, np.zeros(48, bool))
    assert markers(silent.save(tmp_path / "b.otio")) == []


@pytest.mark.parametrize("name", ["otio", "edl"])
def test_without_opentimelineio_the_extra_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecmvae.prediction.writers.activity.find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"pip install 'ecmvae\[otio\]'"):
        WRITERS.get(name).check_installed()


@pytest.mark.parametrize(
    ("suffix", "name"), [(".csv", "activity"), (".otio", "otio"), (".edl", "edl")]
)
def test_the_suffix_selects_the_format(suffix: str, name: str) -> None:
    assert writer_for(Path(f"a{suffix}")) == name


@given(some.lists(some.booleans(), min_size=1, max_size=60), some.sampled_from([4.0, 10.0, 25.0]))
def test_spans_are_runs_without_longer_pauses(marked: list[bool], fps: float) -> None:
    """Against a picture of time in which short pauses are filled."""
    collector, times = SpanCollector(1 / fps), np.arange(len(marked)) / fps
    result = result_of(None, None, None, np.array(marked))
    for position, time in enumerate(times):
        frame = result.frame(position)
        object.__setattr__(frame, "time", float(time))
        collector.add(frame)
    filled = np.array(marked)
    sounding = np.flatnonzero(filled)
    for before, after in pairwise(sounding):
        if times[after] - (times[before] + 1 / fps) <= LONGEST_GAP + 1e-9:
            filled[before:after] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(int), [0]])))
    expected = [Span("sound", start / fps, end / fps) for start, end in edges.reshape(-1, 2)]
    found = collector.spans()
    assert len(found) == len(expected)
    assert np.allclose([(s.start, s.end) for s in found], [(s.start, s.end) for s in expected])


def test_detections_for_supervision(named: VideoResult, video: Path) -> None:
    frame = named.frame(30)
    detections = frame.to_supervision()
    assert detections.class_id.tolist() == [1, 2]
    assert detections.data["class_name"].tolist() == list(NAMES[1:])
    assert np.array_equal(detections.mask, np.stack([frame.classes == 1, frame.classes == 2]))
    for mask, box in zip(detections.mask, detections.xyxy, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    assert detections.confidence.tolist() == [0.75, 0.75]
    assert len(named.frame(0).to_supervision()) == 0
    single = result_of(video, None, None, np.ones(4, bool)).frame(0)
    assert single.to_supervision().data["class_name"].tolist() == ["sounding object"]
    assert np.array_equal(single.to_supervision().mask[0], single.mask)


def test_without_supervision_the_extra_is_named(
    named: VideoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecmvae.prediction.result.find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"pip install 'ecmvae\[supervision\]'"):
        named.frame(0).to_supervision()
