"""What the README shows runs: its Python as written, its commands by name and option, its links."""

import re
from pathlib import Path

import pytest
from demo_folder import write_demo

from ecmvae.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def after_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `make demo` leaves it, with a tiny model, and somebody's video."""
    write_demo(tmp_path, "my_video.mp4")
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
