"""The jobs behind the page: what they make, what they refuse, what they leave behind."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel

from ecmvae.data.video import probe, write_video
from ecmvae.errors import UserError
from ecmvae.serving.service import Answer, Cancelled, Limits, Visits, Wishes, Workshop

LIMITS = Limits(seconds=5.0, megabytes=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "flash.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    return path


@pytest.fixture
def model() -> ListeningModel:
    return ListeningModel(32, 2, level=0.5)


@pytest.fixture
def workshop(model: ListeningModel) -> Workshop:
    return Workshop(model, "cpu", LIMITS)


def run(
    workshop: Workshop, video: Path, folder: Path, wishes: Wishes | None = None, cancelled: Event | None = None
) -> tuple[Answer, list[float]]:
    shares: list[float] = []
    answer = workshop.run(
        video,
        wishes or Wishes(smoothing=0.0),
        folder=folder,
        progress=shares.append,
        cancelled=cancelled or Event(),
    )
    return answer, shares


def test_a_job_gives_files_and_a_timeline(workshop: Workshop, clip: Path, tmp_path: Path) -> None:
    answer, shares = run(workshop, clip, tmp_path)
    assert probe(answer.files["overlay"]).duration == pytest.approx(2.0, abs=0.05)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "flash.coco.json", "flash.mask.mp4", "flash.npz", "flash.overlay.mp4",
    ]  # fmt: skip
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
    assert answer.timeline.count("<polygon") == 3
    assert answer.summary.startswith("48 frames")


def test_only_what_is_wished_is_made(workshop: Workshop, clip: Path, tmp_path: Path) -> None:
    answer, _ = run(workshop, clip, tmp_path, Wishes(kinds=("overlay", "cutout")))
    assert list(answer.files) == ["overlay", "cutout"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flash.cutout.webm", "flash.overlay.mp4"]


def test_another_threshold_is_only_drawn_anew(
    workshop: Workshop, model: ListeningModel, clip: Path, tmp_path: Path
) -> None:
    low, _ = run(workshop, clip, tmp_path, Wishes(threshold=0.05))
    looks = len(model.seen_shapes)
    high, _ = run(workshop, clip, tmp_path, Wishes(threshold=0.95))
    assert len(model.seen_shapes) == looks
    fresh, _ = run(Workshop(model, "cpu", LIMITS), clip, tmp_path, Wishes(threshold=0.95))
    assert high.summary == fresh.summary != low.summary
    run(workshop, clip, tmp_path, Wishes(threshold=0.95, samples=2))
    assert len(model.seen_shapes) > 2 * looks


def test_limits_are_kept(workshop: Workshop, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_video(long, (frame for _ in range(5) for frame in flash_frames(32, 32)[:25]), 25.0)
    run(workshop, long, tmp_path)
    write_video(long, (frame for _ in range(7) for frame in flash_frames(32, 32)[:25]), 25.0)
    with pytest.raises(UserError, match="7 s, more than 5 s"):
        run(workshop, long, tmp_path)
    (tmp_path / "big.mp4").write_bytes(long.read_bytes() + bytes(2_000_000))
    small = Workshop(ListeningModel(32), "cpu", Limits(seconds=60.0, megabytes=1))
    with pytest.raises(UserError, match="2 MB, more than 1"):
        run(small, tmp_path / "big.mp4", tmp_path)


@pytest.mark.parametrize("limit", [{"megabytes": 0}, {"seconds": 0.0}, {"jobs": 0}])
def test_limits_that_let_nobody_in_are_refused(limit: dict[str, int]) -> None:
    with pytest.raises(UserError, match="limits must be above 0"):
        Limits(**limit)


def test_cancelling_leaves_nothing(workshop: Workshop, clip: Path, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Cancelled):
        run(workshop, clip, tmp_path, cancelled=stop)
    assert not list(tmp_path.iterdir())


def test_a_visit_has_one_folder(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    with visits.job("../../elsewhere") as (first, _):  # a browser may call itself anything
        (first / "result").touch()
    assert first.parent == tmp_path
    with visits.job("../../elsewhere") as (second, _):
        assert not first.exists()
    with visits.job("another") as (third, _):
        pass
    visits.leave("another")
    assert list(tmp_path.iterdir()) == [second]
    assert not third.exists()


@pytest.mark.parametrize("leave", [lambda visits: visits.leave("me"), lambda visits: visits.close()])
def test_leaving_cancels_and_nothing_stays(tmp_path: Path, leave: Callable[[Visits], None]) -> None:
    visits = Visits(tmp_path)
    job = visits.job("me")
    _, stop = job.__enter__()
    leave(visits)
    assert stop.is_set()
    with pytest.raises(Cancelled):
        job.__exit__(None, None, None)
    with pytest.raises(UserError), visits.job("me"):
        raise UserError("bad video")
    assert not list(tmp_path.iterdir())
