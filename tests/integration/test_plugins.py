"""Eight parts from outside the package, as docs/extend.md shows them, through training, evaluation and prediction."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames

from ecmvae.cli import main
from ecmvae.config import load_config
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.models.checkpoint import load_model
from ecmvae.training.run import train

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page's files on disk, and Python's path as it is for a user who stands beside them."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "my_parts" / "__init__.py").touch()
    write_video(folder / "dog.mp4", flash_frames(), FPS, beep(), SAMPLE_RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_parts"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    assert main(["train", "--config", "mine.yaml"]) == 0
    return folder / "runs" / "mine-001"


def test_the_page_has_all_eight_parts(folder: Path) -> None:
    assert {path.stem for path in (folder / "my_parts").glob("*.py")} == {
        "__init__", "audio", "backbone", "data", "fusion", "loss", "metric", "prior", "writer",
    }  # fmt: skip


def test_training_uses_them(run: Path) -> None:
    model = load_model(run, trust_code=True)
    assert type(model.backbone).__name__ == "Strided"
    assert type(model.audio_encoder).__name__ == "BandsEncoder"
    assert {type(block).__name__ for block in model.fusion} == {"FiLM"}
    assert model.front_end.sample_rate == 24_000
    assert model.audio_dim == 768
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    terms = [row["train/total_variation"] for row in rows if "train/total_variation" in row]
    assert terms
    assert all(0 < term < 2 for term in terms)


def test_evaluation_uses_them(run: Path) -> None:
    words = [
        "evaluate",
        "--checkpoint",
        str(run),
        "--trust_code",
        "--task",
        "my_parts.data:squares",
        "--split",
        "val",
    ]
    assert main([*words, "--metrics", "[my_parts.metric:AreaRatio]", "--out", "scores"]) == 0
    (file,) = Path("scores").rglob("report.json")
    report = json.loads(file.read_text())
    model, data = load_model(run, trust_code=True), load_config(run / "config.yaml").data
    # The ratio, counted by hand: the model's positive pixels over the true ones.
    from ecmvae.data.loading import load_clips
    from ecmvae.data.preprocess import ClipPreprocessor
    from ecmvae.types import AVBatch

    prepare, predicted, true = ClipPreprocessor.of(model), 0, 0.0
    for clip in load_clips(data, "val", seed=1234):
        batch = AVBatch.collate([prepare(clip)])
        with torch.no_grad():
            logits = model(batch.frames, model.encode_audio(batch.audio), latents="mean").logits
        predicted += int((logits > 0).sum())
        true += float(batch.masks.sum())
    assert report["scores"]["real"]["area_ratio"] == pytest.approx(predicted / true, rel=1e-3)


def test_prediction_uses_them(run: Path, folder: Path) -> None:
    words = ["predict", "dog.mp4", "--checkpoint", str(run), "--trust_code", "--out", "answers"]
    assert main([*words, "--also", "[my_parts.writer:AreaTable]"]) == 0
    lines = (folder / "answers" / "dog.area.csv").read_text().splitlines()
    assert lines[0] == "time,area"
    assert len(lines) > 10
    assert all(0 <= float(line.split(",")[1]) <= 1 for line in lines[1:])


def test_a_vae_is_trained_and_scored_under_its_own_prior(folder: Path) -> None:
    assert main(["vae", "train", "--config", "laplace.yaml", "--out", "vae"]) == 0
    settings = yaml.safe_load((folder / "vae" / "config.yaml").read_text())
    assert settings["model"]["prior"] == "my_parts.prior:Laplace"
    assert main(["vae", "score", "vae"]) == 2  # its configuration names code
    assert main(["vae", "score", "vae", "--trust_code"]) == 0


def test_objects_need_no_configuration(folder: Path) -> None:
    names = runpy.run_path(str(folder / "mine.py"))
    assert 0 <= names["report"].miou <= 1
    assert names["report"].scores["real"]["area_ratio"] >= 0
    assert len(list(names["masks"])) > 10


def test_training_takes_clips_that_no_configuration_names(folder: Path, tmp_path: Path) -> None:
    from my_parts.data import squares

    config = load_config(
        "mine.yaml", {"train.out": str(tmp_path), "train.epochs": 1, "data.name": "s4"}
    )
    clips = {split: squares(config.data, split, seed=5) for split in ("train", "val")}
    assert (
        train(config, train_clips=clips["train"], val_clips=clips["val"]) / "best" / "config.yaml"
    ).is_file()


def test_code_in_a_foreign_folder_is_refused_in_one_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "dog.mp4", "--checkpoint", str(run), "--out", "never"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "import path" in line
    assert "--trust_code" in line
    assert not Path("never").exists()
    with pytest.raises(UserError, match="trust_code"):
        load_model(run)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "model.audio.name=vgish",
            "unknown audio encoder 'vgish': choose from vggish, vggish_small",
        ),
        ("model.audio.name=my_parts.backbone:Strided", "it lacks"),
        ("model.audio.name=my_parts.fusion:CHANNELS", "cannot import"),
        ("model.fusion.kind=tpavy", "unknown fusion 'tpavy': choose from"),
        ("data.name=s5", "unknown data set 's5': choose from"),
        ("data.name=my_parts.metric:AreaRatio", "it lacks"),
        ("loss.extra={'totl_variation':0.1}", "unknown loss term"),
    ],
)
def test_a_wrong_choice_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str, message: str
) -> None:
    key, _, value = setting.partition("=")
    words = [
        "train",
        "--config",
        "mine.yaml",
        f"--{key}",
        value,
        "--train.out",
        str(tmp_path / "runs"),
    ]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "runs").exists()


def test_an_encoder_that_does_not_fit_the_checkpoint_is_refused_before_training(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The checkpoint hears 24 kHz and is 768 wide; VGGish's relative is neither."""
    words = [
        "train",
        "--config",
        "mine.yaml",
        "--model.audio.name",
        "vggish_small",
        "--train.out",
        str(tmp_path / "r"),
    ]
    assert main([*words, "--train.initial_checkpoint", str(run)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "my_parts.audio:BandsEncoder" in line
    assert not (tmp_path / "r").exists()
