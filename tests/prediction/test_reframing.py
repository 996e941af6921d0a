"""The path of a crop that follows what sounds: its three promises on synthetic truth, and against brute force."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from flash_clip import SAMPLE_RATE, beep
from hypothesis import given, settings
from hypothesis import strategies as some

from ecmvae.cli import main
from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import probe, stream_frames, write_video
from ecmvae.errors import UserError
from ecmvae.prediction.options import WriterOptions, parse_aspect
from ecmvae.prediction.reframing import CropPlanner, ReframeOptions, _first_frames, crop_size
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.writers import writer_for

HEIGHT, WIDTH, FPS = 90, 160, 25
PHONE = ReframeOptions(aspect=Fraction(9, 16))


def planned(
    masks: np.ndarray, options: ReframeOptions = PHONE, fps: float = FPS
) -> tuple[CropPlanner, np.ndarray]:
    planner = CropPlanner(*masks.shape[1:], options)
    for number, mask in enumerate(masks):
        planner.add(mask, number / fps)
    return planner, planner.path()


def boxes(centres: list[float | None], size: int = 20) -> np.ndarray:
    """(F, H, W) masks: a square whose middle is at each column; None = nothing sounds."""
    masks = np.zeros((len(centres), HEIGHT, WIDTH), bool)
    for mask, centre in zip(masks, centres, strict=True):
        if centre is not None:
            mask[
                30 : 30 + size,
                max(round(centre) - size // 2, 0) : max(round(centre) + size // 2, 0),
            ] = True
    return masks


def contained(masks: np.ndarray, planner: CropPlanner, path: np.ndarray) -> np.ndarray:
    """Share of each mask inside the crop; 1 where there is no mask."""
    width = planner.size[1]
    inside = [mask[:, left : left + width].sum() for mask, left in zip(masks, path, strict=True)]
    return np.array(inside) / np.maximum(masks.sum((1, 2)), 1) + (masks.sum((1, 2)) == 0)


def cuts(path: np.ndarray, options: ReframeOptions = PHONE, fps: float = FPS) -> np.ndarray:
    """Frames to which the crop jumps faster than it may move; rounding moves it by up to a pixel."""
    return np.flatnonzero(np.abs(np.diff(path)) > options.speed * WIDTH / fps + 1) + 1


@pytest.mark.parametrize(
    ("height", "width", "aspect", "sample_aspect", "size"),
    [
        (1080, 1920, "9:16", Fraction(1), (1080, 608)),
        (1920, 1080, "9:16", Fraction(1), (1920, 1080)),
        (1920, 1080, "16:9", Fraction(1), (608, 1080)),
        (1080, 1920, "1:1", Fraction(1), (1080, 1080)),
        (576, 720, "9:16", Fraction(16, 15), (576, 304)),  # 720 pixels are shown 768 wide
        (1, 1, "9:16", Fraction(1), (1, 1)),
    ],
)
def test_the_crop_is_as_large_as_the_picture_allows(
    height: int, width: int, aspect: str, sample_aspect: Fraction, size: tuple[int, int]
) -> None:
    assert crop_size(height, width, parse_aspect(aspect), sample_aspect) == size


@pytest.mark.parametrize(
    "text", ["", "9", "9/16", "9:0", "0:1", "-9:16", "9:16:3", "\x1b[31m9:16", "999999:1"]
)
def test_other_aspects_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"--reframe takes an aspect like 9:16") as refused:
        parse_aspect(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "options", [{"speed": 0.0}, {"coverage": 0.2}, {"safe_zone": 0.5}, {"aspect": Fraction(1, 50)}]
)
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(UserError, match=r"got|must be|from"):
        ReframeOptions(**({"aspect": Fraction(9, 16)} | options))


def test_a_still_object_is_cropped_in_its_middle_by_a_still_crop() -> None:
    planner, path = planned(boxes([100.0] * 50))
    assert set(path.tolist()) == {100 - planner.size[1] // 2}


def test_small_movements_inside_the_safe_zone_move_nothing() -> None:
    trembling = [100 + 3 * np.sin(frame) for frame in range(100)]
    _, path = planned(boxes(trembling))
    assert len(set(path.tolist())) == 1


def test_a_slow_object_is_followed_without_a_cut() -> None:
    masks = boxes([30 + 0.2 * WIDTH / FPS * frame for frame in range(75)])
    planner, path = planned(masks)
    assert len(cuts(path)) == 0
    assert contained(masks, planner, path).min() >= 0.9
    assert path[-1] - path[0] > 50


def test_what_sounds_elsewhere_at_once_is_a_cut_to_it() -> None:
    masks = boxes([30.0] * 40 + [130.0] * 40)
    planner, path = planned(masks)
    assert cuts(path).tolist() == [40]
    assert contained(masks, planner, path).min() == 1


def test_during_a_silence_the_crop_travels_in_place_of_a_cut() -> None:
    masks = boxes([30.0] * 40 + [None] * 100 + [130.0] * 40)
    planner, path = planned(masks)
    assert len(cuts(path)) == 0
    assert contained(masks, planner, path).min() >= 0.9


def test_a_flicker_elsewhere_is_no_cut() -> None:
    masks = boxes([30.0] * 40 + [130.0] * 4 + [30.0] * 40)
    planner, path = planned(masks)
    assert len(cuts(path)) == 0
    assert contained(masks, planner, path)[:40].min() == 1


def test_a_mask_wider_than_the_crop_is_followed_where_most_of_it_is() -> None:
    masks = np.zeros((50, HEIGHT, WIDTH), bool)
    masks[:, 40:44, :] = True  # a thin line over the whole width
    masks[:, 20:70, 100:130] = True
    planner, path = planned(masks)
    assert len(cuts(path)) == 0
    assert (path <= 100).all()
    assert (path + planner.size[1] >= 130).all()


def test_silence_and_an_empty_video() -> None:
    planner, path = planned(boxes([None] * 10))
    assert len(set(path.tolist())) == 1
    assert path[0] == (WIDTH - planner.size[1]) // 2
    assert CropPlanner(HEIGHT, WIDTH, PHONE).path().shape == (0,)


def test_tall_pictures_move_up_and_down() -> None:
    masks = boxes([30.0] * 40 + [130.0] * 40).transpose(0, 2, 1)
    planner = CropPlanner(WIDTH, HEIGHT, ReframeOptions(aspect=Fraction(16, 9)))
    for number, mask in enumerate(masks):
        planner.add(mask, number / FPS)
    path = planner.path()
    assert planner.axis == 0
    for mask, top in zip(masks, path, strict=True):
        assert mask[top : top + planner.size[0]].sum() == mask.sum()


WALKS = some.lists(
    some.tuples(some.integers(12, 60), some.none() | some.floats(10, 150)), min_size=1, max_size=5
)


@given(WALKS, some.floats(0.05, 2), some.sampled_from(["9:16", "4:5", "1:1", "21:9"]))
@settings(max_examples=60, deadline=None)
def test_the_three_promises(
    walk: list[tuple[int, float | None]], speed: float, aspect: str
) -> None:
    """Whatever sounds wherever: inside the picture, not too fast but at cuts, and 90 % of each mask that fits."""
    options = ReframeOptions(aspect=parse_aspect(aspect), speed=speed)
    masks = boxes([centre for frames, centre in walk for _ in range(frames)])
    planner, path = planned(masks, options)
    assert (path >= 0).all()
    assert (path <= masks.shape[1 + planner.axis] - planner.size[planner.axis]).all()
    if planner.axis == 1:
        changes = sum(one[1] != other[1] for one, other in pairwise(walk))
        assert len(cuts(path, options)) <= changes
        assert contained(masks, planner, path).min() >= 0.9


@given(
    some.lists(some.tuples(some.integers(0, 12), some.integers(0, 6)), min_size=1, max_size=7),
    some.integers(0, 3),
)
@settings(deadline=None)
def test_there_are_as_few_cuts_as_there_can_be(demands: list[tuple[int, int]], step: int) -> None:
    """Against every way to place cuts: shortest list of shots, each with a path on whole positions."""
    low = np.array([float(each) for each, _ in demands])
    high = low + np.array([float(extent) for _, extent in demands])
    steps = np.full(len(low), float(step))

    def possible(start: int, end: int) -> bool:
        reached = set(np.arange(low[start], high[start] + 1).tolist())
        for frame in range(start + 1, end):
            around = {each + move for each in reached for move in range(-step, step + 1)}
            reached = {each for each in around if low[frame] <= each <= high[frame]}
        return bool(reached)

    fewest = [0] + [len(low)] * len(low)
    for end in range(1, len(low) + 1):
        fewest[end] = min(fewest[start] + 1 for start in range(end) if possible(start, end))
    assert len(_first_frames(steps, low, high)) == fewest[-1]


@pytest.fixture
def moving(tmp_path: Path) -> tuple[Path, list[float]]:
    """A red square that waits at the left, walks to the right and waits there, with a beep; and its columns."""
    centres = [30.0] * 20 + np.linspace(30, 130, 70).tolist() + [130.0] * 10
    frames = np.full((len(centres), HEIGHT, WIDTH, 3), 40, np.uint8)
    for frame, mask in zip(frames, boxes(centres), strict=True):
        frame[mask] = (220, 30, 30)
    path = tmp_path / "walk.mp4"
    write_video(path, frames, FPS, beep(), SAMPLE_RATE)
    return path, centres


def truth(path: Path, centres: list[float]) -> VideoResult:
    """What a model that sees the square exactly would answer."""
    times = np.arange(len(centres)) / FPS
    return VideoResult(
        path=path,
        geometry=Letterbox(height=HEIGHT, width=WIDTH, side=WIDTH, squash=True),
        threshold=0.5,
        first_index=0,
        audio_track=0,
        timestamps=times,
        audio_activity=np.zeros(len(centres), np.float32),
        key_times=times,
        key_probabilities=boxes(centres).astype(np.float16),
    )


def test_a_reframed_video_keeps_what_sounds_its_sound_and_its_times(
    moving: tuple[Path, list[float]],
) -> None:
    path, centres = moving
    out = truth(path, centres).save(
        path.with_name("short.mp4"), "reframe", options=WriterOptions(reframe="9:16")
    )
    source, made = probe(path), probe(out)
    assert (made.height, made.width) == (90, 50)
    assert made.fps == source.fps
    with av.open(out) as short, av.open(path) as whole:
        packets, expected = (
            [bytes(packet) for packet in file.demux(audio=0)] for file in (short, whole)
        )
    assert packets == expected
    assert len(packets) > 10
    pictures = [(frame.time, frame.rgb()) for frame in stream_frames(out)]
    assert [time for time, _ in pictures] == pytest.approx(
        [frame.time for frame in stream_frames(path)], abs=1e-3
    )
    red = [(picture[..., 0].astype(int) - picture[..., 1] > 90).sum() for _, picture in pictures]
    assert min(red) >= 0.9 * 20 * 20
    assert max(red) <= 1.1 * 20 * 20
    assert sorted(each.name for each in path.parent.iterdir()) == ["short.mp4", "walk.mp4"]


def test_the_switch_takes_an_aspect_and_the_name_of_the_output(
    moving: tuple[Path, list[float]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(
        "ecmvae.prediction.run.predict_videos",
        lambda sources, formats, load, look, **options: (
            asked.update(formats=formats, look=look) or 0
        ),
    )
    assert main(["predict", str(moving[0]), "--out", "short.mp4", "--reframe", "9:16"]) == 0
    assert asked["formats"][0] == "reframe"
    assert writer_for(Path("short.mp4"), asked["formats"]) == "reframe"
    assert asked["look"].reframe == "9:16"
    assert main(["predict", str(moving[0]), "--reframe", "tall"]) == 2
    assert "--reframe takes an aspect like 9:16 or 1:1, not 'tall'" in capsys.readouterr().err


def test_a_video_that_changed_meanwhile_is_refused(moving: tuple[Path, list[float]]) -> None:
    path, centres = moving
    with pytest.raises(UserError, match="another number of frames"):
        truth(path, [*centres, 130.0]).save(path.with_name("short.mp4"), "reframe")
    assert not path.with_name("short.mp4").exists()
