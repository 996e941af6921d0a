"""The page with a model without training: visitors say what to listen for. Tiny random weights, over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from tiny_foundation import save

from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.serving.app import build_page, launch, own_folder
from ecmvae.serving.quotas import UploadStore
from ecmvae.serving.service import JobOptions, Limits, PredictionService, SessionStore

LIMITS = Limits(seconds=5.0, megabytes=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "flash.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("hub")
    return f"concepts:ast={save('ast', home / 'ast')}+clipseg={save('clipseg', home / 'clipseg')}"


@pytest.fixture
def service(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PredictionService:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return PredictionService(checkpoint, "cpu", LIMITS, concepts="dog, guitar")


@pytest.fixture
def address(service: PredictionService) -> Iterator[str]:
    with own_folder() as folder:
        uploads = UploadStore(LIMITS)
        page = build_page(service, LIMITS, SessionStore(folder), uploads)
        yield launch(page, LIMITS, uploads)
        page.close(verbose=False)


def test_words_are_typed_and_names_come_back(address: str, clip: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, download_files=tmp_path / "downloads", verbose=False)

    def ask(words: str) -> tuple[str, str, list[str]]:
        choices = ("contour", 0.1, 1, 0.0, False, words)
        _, summary, timeline, *downloads = client.predict(
            handle_file(str(clip)), *choices, api_name="/segment"
        )
        files = [each["value"] if isinstance(each, dict) else each for each in downloads]
        (npz,) = [each for each in files if isinstance(each, str) and each.endswith(".npz")]
        with np.load(npz) as arrays:
            return summary, timeline, arrays["class_names"].tolist()

    summary, timeline, names = ask("")
    assert names == ["background", "dog", "guitar"]  # what the page was started with
    assert summary.startswith("48 frames")
    assert timeline.count("<polygon") == 5
    assert ">dog</b>" in timeline
    _, timeline, names = ask(" rain ")
    assert names == ["background", "rain"]
    assert ">rain</b>" in timeline
    assert ">dog</b>" not in timeline
    with pytest.raises(Exception, match="the tagger has no name for"):
        ask("xylopone")
    assert not (tmp_path / "cache" / "ecmvae").exists()  # nothing of a visitor's video is kept


def test_words_are_no_path(service: PredictionService, clip: Path, tmp_path: Path) -> None:
    from threading import Event

    (tmp_path / "secret.csv").write_text("name,prompt,group\nBark,a dog,x\n")
    options = JobOptions(concepts=f"{tmp_path / 'secret.csv'} ")
    with pytest.raises(UserError, match="in words"):
        service.run(clip, options, folder=tmp_path, cancelled=Event(), progress=lambda share: None)
