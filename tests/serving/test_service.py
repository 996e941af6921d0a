"""The jobs behind the page: what they make, what they refuse, what they leave behind."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel

from ecmvae.data.video import probe, write_video
from ecmvae.errors import UserError
from ecmvae.serving.service import (
    Answer,
    Cancelled,
    JobOptions,
    Limits,
    PredictionService,
    SessionStore,
)

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
def service(model: ListeningModel) -> PredictionService:
    return PredictionService(model, "cpu", LIMITS)


def run(
    service: PredictionService,
    video: Path,
    folder: Path,
    options: JobOptions | None = None,
    cancelled: Event | None = None,
) -> tuple[Answer, list[float]]:
    shares: list[float] = []
    answer = service.run(
        video,
        options or JobOptions(smoothing=0.0),
        folder=folder,
        progress=shares.append,
        cancelled=cancelled or Event(),
    )
    return answer, shares


def test_a_video_that_is_gone_is_one_line(service: PredictionService, tmp_path: Path) -> None:
    for path in (tmp_path / "deleted.mp4", Path("http:/127.0.0.1:1/x.mp4")):
        with pytest.raises(UserError, match="upload it again"):
            run(service, path, tmp_path)


def test_a_job_gives_files_and_a_timeline(
    service: PredictionService, clip: Path, tmp_path: Path
) -> None:
    answer, shares = run(service, clip, tmp_path)
    assert probe(answer.files["overlay"]).duration == pytest.approx(2.0, abs=0.05)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "flash.coco.json", "flash.mask.mp4", "flash.npz", "flash.overlay.mp4",
    ]  # fmt: skip
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
    assert answer.timeline.count("<polygon") == 3
    assert answer.summary.startswith("48 frames")


def test_only_the_chosen_outputs_are_made(
    service: PredictionService, clip: Path, tmp_path: Path
) -> None:
    answer, _ = run(service, clip, tmp_path, JobOptions(writers=("overlay", "cutout")))
    assert list(answer.files) == ["overlay", "cutout"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "flash.cutout.webm",
        "flash.overlay.mp4",
    ]


def test_another_threshold_is_only_drawn_again(
    service: PredictionService, model: ListeningModel, clip: Path, tmp_path: Path
) -> None:
    low, _ = run(service, clip, tmp_path, JobOptions(threshold=0.05))
    looks = len(model.seen_shapes)
    high, _ = run(service, clip, tmp_path, JobOptions(threshold=0.95))
    assert len(model.seen_shapes) == looks
    fresh, _ = run(
        PredictionService(model, "cpu", LIMITS), clip, tmp_path, JobOptions(threshold=0.95)
    )
    assert high.summary == fresh.summary != low.summary
    run(service, clip, tmp_path, JobOptions(threshold=0.95, samples=2))
    assert len(model.seen_shapes) > 2 * looks


def test_where_nothing_is_marked_the_line_says_what_to_try(
    service: PredictionService, tmp_path: Path
) -> None:
    silent = tmp_path / "silent.mp4"
    write_video(silent, flash_frames(64, 48), 24, np.zeros(32_000, np.float32), 16_000)
    answer, _ = run(service, silent, tmp_path, JobOptions(threshold=0.6))
    assert (
        "seen in 0% of them; heard: Silence 1.00. Nothing reaches the threshold of 0.6; the highest probability is"
        in answer.summary
    )
    assert "heatmap" in answer.summary


def test_limits_are_kept(service: PredictionService, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_video(long, (frame for _ in range(5) for frame in flash_frames(32, 32)[:25]), 25.0)
    run(service, long, tmp_path)
    write_video(long, (frame for _ in range(7) for frame in flash_frames(32, 32)[:25]), 25.0)
    with pytest.raises(UserError, match="7 s, more than 5 s"):
        run(service, long, tmp_path)
    (tmp_path / "big.mp4").write_bytes(long.read_bytes() + bytes(2_000_000))
    small = PredictionService(ListeningModel(32), "cpu", Limits(seconds=60.0, megabytes=1))
    with pytest.raises(UserError, match="2 MB, more than 1"):
        run(small, tmp_path / "big.mp4", tmp_path)


@pytest.mark.parametrize("limit", [{"megabytes": 0}, {"seconds": 0.0}, {"jobs": 0}])
def test_limits_are_validated(limit: dict[str, int]) -> None:
    with pytest.raises(UserError, match="limits must be above 0"):
        Limits(**limit)


def test_cancelling_leaves_nothing(service: PredictionService, clip: Path, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Cancelled):
        run(service, clip, tmp_path, cancelled=stop)
    assert not list(tmp_path.iterdir())


def test_a_visit_has_one_folder(tmp_path: Path) -> None:
    sessions = SessionStore(tmp_path)
    with sessions.job("../../elsewhere") as (first, _):  # a browser may call itself anything
        (first / "result").touch()
    assert first.parent == tmp_path
    with sessions.job("../../elsewhere") as (second, _):
        assert not first.exists()
    with sessions.job("another") as (third, _):
        pass
    sessions.leave("another")
    assert list(tmp_path.iterdir()) == [second]
    assert not third.exists()


@pytest.mark.parametrize(
    "leave", [lambda sessions: sessions.leave("me"), lambda sessions: sessions.close()]
)
def test_leaving_cancels_and_nothing_stays(
    tmp_path: Path, leave: Callable[[SessionStore], None]
) -> None:
    sessions = SessionStore(tmp_path)
    job = sessions.job("me")
    _, stop = job.__enter__()
    leave(sessions)
    assert stop.is_set()
    with pytest.raises(Cancelled):
        job.__exit__(None, None, None)
    with pytest.raises(UserError), sessions.job("me"):
        raise UserError("bad video")
    assert not list(tmp_path.iterdir())
