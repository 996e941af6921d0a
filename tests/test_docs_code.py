"""The code of the pages: every command takes the options it is shown with, every name can be imported, blocks run.

Other tests run the code of data.md, evaluate.md, extend.md, metrics.md, vae.md, vae-models.md and vae-own-pictures.md.
"""

import ast
import inspect
import re
import shlex
import typing
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from demo_folder import write_demo
from PIL import Image

from ecmvae.arguments import _config_options
from ecmvae.cli import COMMANDS
from ecmvae.config import Config
from ecmvae.prediction.predictor import VideoPredictor

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```(?:{language})\b[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M
    )


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every `ecmvae ...` in a block of shell."""
    for page in PAGES:
        for block in blocks(page, "bash|console"):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.search(r"(?:^|\s|-m )ecmvae (\S.*)", line.removeprefix("$ "))
                if command and not line.startswith(("ecmvae: ", "docker", "#", "pip")):
                    yield (
                        page.name,
                        shlex.split(
                            command[1].partition(" | ")[0].partition("; ")[0], comments=True
                        ),
                    )


def options_of(words: list[str]) -> set[str]:
    """The options of a command that is written out."""
    target = COMMANDS[words[0]][0]
    module, _, name = target.partition(":")
    found = getattr(import_module(module), name)
    if isinstance(found, Mapping):
        if len(words) == 1 or words[1].startswith("-"):
            return {"help"}
        found = found[words[1]]
    hints = typing.get_type_hints(found)
    known = {*inspect.signature(found).parameters, "help"}
    return known | (_config_options() if Config in hints.values() else set())


def test_every_command_of_the_pages_takes_its_options() -> None:
    seen = list(commands())
    assert len(seen) > 100
    wrong = []
    for page, words in seen:
        if words[0] in ("COMMAND", "--version", "--help"):
            continue
        if words[0] not in COMMANDS:
            wrong.append((page, words[0]))
            continue
        given = {
            word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")
        }
        wrong += [(page, words[0], f"--{name}") for name in sorted(given - options_of(words))]
    assert wrong == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_every_name_of_the_pages_can_be_imported(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecmvae"):
                module = import_module(node.module)
                for name in node.names:
                    if not hasattr(module, name.name):
                        import_module(f"{node.module}.{name.name}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_demo(tmp_path, "my_video.mp4", "dog.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_page_cuts_out(folder: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "index.md", "python")
    exec(
        compile(
            block.replace("VideoPredictor()", 'VideoPredictor("runs/demo")'), "index.md", "exec"
        ),
        {},
    )
    assert (folder / "out.mp4").stat().st_size > 0


def test_prediction_takes_what_its_page_says(folder: Path) -> None:
    first, second, _ = blocks(ROOT / "docs" / "predict.md", "python")
    names: dict[str, object] = {}
    small = first.replace("VideoPredictor()", 'VideoPredictor("runs/demo")', 1)
    exec(compile(small, "predict.md", "exec"), names)
    assert (folder / "dog.overlay.mp4").stat().st_size > 0
    frames = np.random.default_rng(0).integers(0, 255, size=(25, 48, 64, 3), dtype=np.uint8)
    sound = np.zeros(48_000, np.float32)
    names |= {"predictor": VideoPredictor("runs/demo"), "frames": frames, "sound": sound}
    names |= {
        "frame_generator": lambda: iter(frames),
        "picture": Image.fromarray(frames[0]),
        "other_sound": sound,
    }
    exec(compile(second, "predict.md", "exec"), names)
    assert names["result"].masks.shape == (24, 48, 64)


def test_faces_are_drawn_as_their_page_says() -> None:
    names: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "faces.md", "python"):
        exec(compile(block, "faces.md", "exec"), names)
    assert names["pixels"].shape == (256, 256, 3)
    assert names["rows"].shape == (10, 2)


@pytest.mark.parametrize("page", ["models.md", "latents.md", "serve.md"])
def test_the_packaged_model_does_what_the_page_says(page: str, folder: Path) -> None:
    exec(compile(blocks(ROOT / "docs" / page, "python")[0], page, "exec"), {})
