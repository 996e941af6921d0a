"""docs/vae-own-pictures.md: every block of the page runs, in its order, on a drawn folder."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from drawn_pictures import write_pictures

from ecmvae.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "vae-own-pictures.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_has_blocks_of_three_kinds() -> None:
    assert {kind for kind, _ in BLOCKS} == {"bash", "yaml", "python"}


@pytest.mark.timeout(600)
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(Path("my_pictures"), 40)
    write_pictures(Path("other_pictures"), 10, seed=1)
    shutil.copy("my_pictures/img_align_celeba/000000.png", "my_picture.jpg")
    for kind, text in BLOCKS:
        if kind == "yaml":
            Path(text.split()[1]).write_text(text)
        elif kind == "python":
            exec(compile(text, str(PAGE), "exec"), {})
        else:
            for line in text.strip().splitlines():
                program, *words = shlex.split(line)
                assert program == "ecmvae"
                assert main(words) == 0, line
    pictures = ["samples", "pairs", "grid", "morph", "smile", "both", "odd", "one", "other"]
    assert all(Path(f"{name}.png").stat().st_size > 300 for name in pictures)
