"""What the README shows runs: its Python as written, its commands by name and option, its links."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ecmvae.cli import COMMANDS, main
from ecmvae.config import config_from_dict
from ecmvae.data.video import write_video
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def after_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `make demo` leaves it, with a tiny model, and somebody's video."""
    config = config_from_dict(
        {
            "model": {
                "visual": {"name": "efficientnet_lite0"},
                "audio": {"name": "vggish_small", "frozen": False},
                "channels": 8,
            },
            "data": {"image_size": 64, "hop_seconds": 1.0},
        }
    )
    torch.manual_seed(0)
    save_model(build_model(config.model, image_size=64), tmp_path / "runs" / "demo" / "best", config)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, size=(24, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "my_video.mp4", frames, 24, rng.normal(size=16000).astype(np.float32) * 0.1, 16000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_blocks_run_as_they_stand(after_demo: Path) -> None:
    assert len(blocks("python")) == 1
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert any((after_demo / "masks").iterdir())


def test_the_predict_command_leaves_a_video(after_demo: Path) -> None:
    (line,) = (line for line in "".join(blocks("bash")).splitlines() if "ecmvae predict" in line)
    assert main(line.split()[1:]) == 0
    assert (after_demo / "out.mp4").stat().st_size > 0


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make (\w+)", README)
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_command_is_described_and_exists() -> None:
    assert set(re.findall(r"`ecmvae ([a-z-]+)", README)) == set(COMMANDS)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_configurations_that_are_named_exist() -> None:
    named = re.findall(r"configs/[\w*/]+\.yaml", README)
    assert named
    assert [name for name in named if not list(ROOT.glob(name))] == []
