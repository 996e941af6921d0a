"""The page: a real server on this machine, asked by Gradio's own client; and the workshop behind it."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel

from ecmvae.data.video import probe, read_clip, write_video
from ecmvae.errors import UserError
from ecmvae.inference.app import Answer, Cancelled, Limits, Workshop, build_page, launch

LIMITS = Limits(seconds=5.0, megabytes=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "flash.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    return path


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(ListeningModel(32, 2, level=0.5), "cpu", LIMITS, tmp_path)


def run(workshop: Workshop, video: Path, cancelled: Event | None = None) -> tuple[Answer, list[float]]:
    shares: list[float] = []
    answer = workshop.run(
        video,
        style="contour",
        threshold=0.5,
        samples=1,
        smoothing=0.0,
        visitor="me",
        progress=shares.append,
        cancelled=cancelled or Event(),
    )
    return answer, shares


def test_a_job_gives_files_and_a_timeline(workshop: Workshop, clip: Path, tmp_path: Path) -> None:
    answer, shares = run(workshop, clip)
    assert probe(answer.overlay).duration == pytest.approx(2.0, abs=0.05)
    assert sorted(path.name for path in (tmp_path / "me").iterdir()) == [
        "result.coco.json", "result.mask.mp4", "result.npz", "result.overlay.mp4",
    ]  # fmt: skip
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
    assert len(answer.timeline.axes[0].lines) == 3
    assert answer.summary.startswith("48 frames")


def test_limits_are_kept(workshop: Workshop, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_video(long, (frame for _ in range(5) for frame in flash_frames(32, 32)[:25]), 25.0)
    run(workshop, long)
    write_video(long, (frame for _ in range(7) for frame in flash_frames(32, 32)[:25]), 25.0)
    with pytest.raises(UserError, match="7 s, more than 5 s"):
        run(workshop, long)
    (tmp_path / "big.mp4").write_bytes(long.read_bytes() + bytes(2_000_000))
    small = Workshop(ListeningModel(32), "cpu", Limits(seconds=60.0, megabytes=1), tmp_path)
    with pytest.raises(UserError, match="2 MB, more than 1"):
        run(small, tmp_path / "big.mp4")


def test_cancelling_leaves_nothing(workshop: Workshop, clip: Path, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Cancelled):
        run(workshop, clip, stop)
    assert not list((tmp_path / "me").iterdir())


@pytest.fixture
def address(workshop: Workshop, tmp_path: Path) -> Iterator[str]:
    page = build_page(workshop, LIMITS)
    yield launch(page, LIMITS, str(tmp_path), block=False)
    page.close()


def test_upload_to_download_over_http(address: str, clip: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, download_files=tmp_path / "downloads", verbose=False)
    overlay, _, files, summary = client.predict(handle_file(str(clip)), "contour", 0.5, 1, 0.0, api_name="/segment")
    played = read_clip(Path(overlay["video"] if isinstance(overlay, dict) else overlay))
    source = read_clip(clip)
    assert len(played.frames) == len(source.frames)
    change = abs(played.frames.astype(int) - source.frames).mean(axis=(1, 2, 3))
    assert change[24] > 20  # the flash sounds: it is tinted
    assert change[:8].max() < 8  # compression, and the loudness strip at the foot
    assert len(files) == 4
    assert summary.startswith("48 frames")


def test_page_asks_nobody_else_for_anything(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=10) as response:
        html = response.read().decode()
    assert "fonts.googleapis.com" not in html
    assert "What sounds here?" in html
