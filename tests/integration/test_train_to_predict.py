"""From AVSBench's folder layout to an overlay, by the command line: train, evaluate, predict."""

import json
import signal
from pathlib import Path

import pytest

from ecmvae.cli import main
from ecmvae.data.layout import read_clips
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.video import probe, write_video

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"


@pytest.fixture(autouse=True)
def _signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("name", ["ecmvae", pytest.param("tpavi", marks=pytest.mark.slow)])
def test_train_evaluate_predict(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenes = ShapeScenes("s4", size=64)
    write_miniature("data", "s4", {"train": 6, "val": 2, "test": 3}, source=scenes)
    small = {
        "data.name": "s4",
        "data.root": "data",
        "data.hop_seconds": "0.96",
        "data.horizontal_flip": "0.5",
        "model.name": name,
        "model.channels": "8",
        "train.cache_features": "false",
        "train.batch_size": "2",
        "train.name": "s4",
        "train.device": "cpu",
        "train.log_images": "1",
    }
    options = [word for name, value in small.items() for word in (f"--{name}", value)]
    assert main(["train", "--config", str(DEBUG), *options]) == 0
    run = tmp_path / "runs" / "s4-001"
    told = json.loads((run / "best" / "metadata.json").read_text())
    assert told["step"] in (3, 6)

    assert main(["evaluate", "--checkpoint", str(run), "--data", "data", "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "runs" / "evaluate" / "s4_test" / "report.json").read_text())
    assert report["about"]["clips"] == 3
    assert set(report["scores"]) == {"real", "silent", "shuffled"}

    scene = scenes.scene(0)
    write_video(
        tmp_path / "clip.mp4",
        (scene.pictures[k // 12] for k in range(60)),
        12,
        scene.waveform.numpy(),
        16_000,
    )
    assert (
        main(
            ["predict", "clip.mp4", "--out", "out.mp4", "--checkpoint", str(run), "--device", "cpu"]
        )
        == 0
    )
    overlay = probe(tmp_path / "out.mp4")
    assert overlay.frame_count == 60
    assert len(overlay.audio_tracks) == 1


def test_a_checkpoint_of_another_config_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_miniature(
        tmp_path / "data",
        "s4",
        {"train": 2, "val": 2, "test": 2},
        source=ShapeScenes("s4", size=64),
    )
    assert len(read_clips(tmp_path / "data", "s4")) == 6
    out = str(tmp_path / "runs")
    words = [
        "--config",
        str(DEBUG),
        "--train.out",
        out,
        "--data.length",
        "8",
        "--data.val_length",
        "2",
    ]
    assert main(["train", *words, "--train.epochs", "1", "--train.device", "cpu"]) == 0
    best = tmp_path / "runs" / "debug-001" / "best"
    settings = (best / "config.yaml").read_text().replace("dim: 4", "dim: 5")
    (best / "config.yaml").write_text(settings)
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", str(best), "--data", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert "another config" in error
    assert error.count("\n") == 1
