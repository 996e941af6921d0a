"""The page over HTTP: a real server on this machine, asked by Gradio's own client; the command as a process."""

import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel

from ecmvae.config import config_from_dict
from ecmvae.data.video import read_clip, write_video
from ecmvae.errors import UserError
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model
from ecmvae.serving.app import build_page, launch, own_examples, own_folder
from ecmvae.serving.command import _chosen_password, app
from ecmvae.serving.quotas import UploadStore
from ecmvae.serving.service import Limits, PredictionService, SessionStore

LIMITS = Limits(seconds=5.0, megabytes=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "flash.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    return path


@pytest.fixture
def served() -> Iterator[tuple[str, Path]]:
    """Address and folder of a page."""
    with own_folder() as folder:
        service, uploads = (
            PredictionService(ListeningModel(32, 2, level=0.5), "cpu", LIMITS),
            UploadStore(LIMITS),
        )
        page = build_page(service, LIMITS, SessionStore(folder), uploads)
        yield launch(page, LIMITS, uploads), folder
        page.close(verbose=False)
    assert not folder.exists()


def test_upload_to_download_over_http(served: tuple[str, Path], clip: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    address, folder = served
    client = Client(address, download_files=tmp_path / "downloads", verbose=False)
    answer = client.predict(
        handle_file(str(clip)), "contour", 0.5, 1, 0.0, False, api_name="/segment"
    )
    overlay, summary, timeline, *downloads = answer
    played = read_clip(Path(overlay["video"] if isinstance(overlay, dict) else overlay))
    source = read_clip(clip)
    assert len(played.frames) == len(source.frames)
    change = abs(played.frames.astype(int) - source.frames).mean(axis=(1, 2, 3))
    assert change[24] > 6  # the flash sounds: it is tinted
    assert change[:8].max() < 2  # compression
    assert summary.startswith("48 frames")
    assert timeline.count("<polygon") == 3
    assert len(downloads) == 5  # the cut-out's button is empty
    # Uploads and results lie in our own folder and nowhere else, and no result twice.
    assert sorted(path.name for path in folder.rglob("flash.*")) == [
        "flash.coco.json", "flash.mask.mp4", "flash.mp4", "flash.npz", "flash.overlay.mp4",
    ]  # fmt: skip


def test_page_loads_nothing_from_elsewhere(served: tuple[str, Path]) -> None:
    address, _ = served
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=10) as response:
        policy = response.headers["content-security-policy"]
        html = response.read().decode()
    assert "fonts.googleapis.com" not in html
    assert "What sounds here?" in html
    sources = {word for rule in policy.split(";") for word in rule.split()[1:]}
    assert sources == {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}


def test_there_is_a_clip_to_try() -> None:
    (clip,) = own_examples()
    assert abs(read_clip(clip).waveform).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"password": ""}, "password is empty"),
        ({"password": "a", "password_file": Path("b")}, "not both"),
        ({"password_file": Path("none.txt")}, "cannot read the password file none.txt"),
        ({"password_file": Path(os.devnull)}, "password is empty"),
        (
            {"allowed_hosts": ["https://page.example"]},
            "without scheme and port, not 'https://page.example'",
        ),
        ({"max_megabytes": 300, "visitor_megabytes": 200}, "they are 300, 200 and 4000"),
        ({"jobs": 0}, "limits must be above 0"),
        ({"examples": [Path("none.mp4")]}, "there is no example video none.mp4"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        app(**arguments)


def test_where_the_password_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECMVAE_APP_PASSWORD", raising=False)
    assert _chosen_password(None, None) is None
    monkeypatch.setenv("ECMVAE_APP_PASSWORD", "from the environment")
    assert _chosen_password(None, None) == "from the environment"
    assert _chosen_password("an option", None) == "an option"
    (tmp_path / "word").write_text(" with spaces \r\nsecond line\n")
    assert _chosen_password(None, tmp_path / "word") == " with spaces "


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to connections of other programs meanwhile."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as free:
            if free.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise OSError("no port is free")


def test_the_command_ends_clean(tmp_path: Path) -> None:
    """A real process: it says where it listens, answers there, and SIGTERM leaves no folder behind."""
    config = config_from_dict(
        {
            "model": {
                "visual": {"name": "efficientnet_lite0"},
                "audio": {"name": "vggish_small", "frozen": False},
                "channels": 8,
            },
            "data": {"image_size": 64},
        }
    )
    model = save_model(build_model(config.model, image_size=64), tmp_path / "model", config)
    port = free_port()
    # what a server left that was killed
    (tmp_path / "temp" / "ecmvae-app-killed").mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "ecmvae", "app", "--checkpoint", str(model), "--port", str(port)],
        env={**os.environ, "TMPDIR": str(tmp_path / "temp"), "ECMVAE_APP_PASSWORD": "open sesame"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
            (folder,) = (tmp_path / "temp").glob("ecmvae-app-*")
            assert folder.name != "ecmvae-app-killed"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=120) as response:
                assert response.status == 200
            with pytest.raises(HTTPError, match="401"):  # without the password
                urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=120)
            with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"):
                app(checkpoint=str(model), port=port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 143
        finally:
            process.kill()
    assert not list((tmp_path / "temp").glob("ecmvae-app-*"))
