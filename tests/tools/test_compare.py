"""`tools/compare.py` with models whose scores are known: one marks the truth, one nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from compare import main, names_of
from fake_segmenter import FakeSegmenter
from PIL import Image

from ecmvae.config import Config, config_from_dict
from ecmvae.data.miniature import ShapeScenes, write_miniature

CONFIG = config_from_dict({"data": {"image_size": 32, "num_frames": 5}})


class Answering(FakeSegmenter):
    """Marks where the picture is as bright as told, on any sound."""

    def __init__(self, config: Config, above: float) -> None:
        super().__init__()
        self.config, self.above = config, above

    def encode_audio(self, features: torch.Tensor) -> torch.Tensor:
        return features.flatten(2)[..., :4]

    def forward(self, frames, audio, masks=None, supervised=None, latents="mean", features=None):
        bright = self.normalisation.pictures(frames).amax(dim=2, keepdim=True) > self.above
        return SimpleNamespace(logits=torch.where(bright, 9.0, -9.0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    return (
        write_miniature(folder, "s4", {"test": 4}, source=ShapeScenes("s4", 32), composed=True)
        or folder
    )


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Names on the command line are thresholds of brightness: 2 marks nothing, -1 everything."""
    monkeypatch.setattr(
        "compare.load_model", lambda path, device: Answering(CONFIG, float(path.split("/")[-1]))
    )


def row(text: str, name: str) -> list[str]:
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_scores_and_paired_differences(models: None, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [
        "everything/-1",
        "nothing/2",
        "--data",
        str(root),
        "--device",
        "cpu",
        "--out",
        str(out),
        "--clips",
        "2",
    ]
    assert main(words) == 0
    text = (out / "compare.md").read_text()
    everything, nothing = row(text, "-1"), row(text, "2")
    assert len(everything) == len(nothing)
    assert float(nothing[1]) == pytest.approx(0, abs=1e-3)
    assert float(everything[1]) > 0.02
    difference = row(text, "-1 - 2")
    assert float(difference[1].split()[0]) == pytest.approx(
        float(everything[1]) - float(nothing[1]), abs=1.1e-3
    )
    assert difference[-1] == "4 of 4"
    assert "## s4, test: 4 clips" in text.splitlines()
    picture = np.asarray(Image.open(out / "s4.png"))
    assert picture.shape[0] == 2 * (4 * (32 + 8) + 16)  # two clips: frame, truth and two models
    assert picture.shape[1] == 90 + 5 * (32 + 8)
    frame, truth, all_marked, none_marked = (
        picture[8 + 40 * line : 24 + 40 * line, 98:114] for line in range(4)
    )
    assert np.array_equal(frame, none_marked)
    assert not np.array_equal(frame, all_marked)
    assert truth.shape == frame.shape


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2", "--data", "EMPTY"], "holds no data set that is known"),
        (["2", "--data", "ROOT", "--task", "s5"], "s5"),
        (["2", "--data", "ROOT", "--split", "tset"], "tset"),
    ],
)
def test_mistakes_are_one_line(
    models: None,
    root: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"ROOT": str(root), "EMPTY": str(tmp_path / "empty")}
    out = tmp_path / "out"
    assert (
        main([*(places.get(word, word) for word in words), "--device", "cpu", "--out", str(out)])
        == 2
    )
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not out.exists()


def test_models_of_one_name_are_told_apart() -> None:
    assert names_of(["runs/a-001", "runs/b-001/best", "other/a-001"]) == [
        "a-001 (1)",
        "b-001",
        "a-001 (3)",
    ]
