"""The tables of docs/reproduce.md are those of today, and the tool shows what a run would write."""

from pathlib import Path

import pytest

from ecmvae.config import load_config
from ecmvae.training.differs import differences
from tools.reproduce import MODELS, PAGE, PUBLISHED, ROOT, main, recipe, renewed


def test_the_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, "run: python tools/reproduce.py --docs"


def test_every_recipe_has_its_row() -> None:
    files = {path.stem for path in (ROOT / "configs" / "reproduce").glob("*.yaml")}
    assert files == set(PUBLISHED) == {name for names in MODELS.values() for name in names}
    page = PAGE.read_text(encoding="utf-8")
    for name in files:
        assert f"| {name} | {PUBLISHED[name]} |  |" in page  # no score of ours is claimed
        assert recipe(name).is_file()
        assert f"`ecmvae train --config configs/reproduce/{name}.yaml`" in page


def test_a_configuration_is_shown_without_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\n")
    files = [str(recipe("s4_pvt")), str(tmp_path / "mine.yaml")]
    assert main(files) == 0
    shown = capsys.readouterr().out
    assert shown == differences(load_config(files), files)
    assert "| `train.epochs` | 3 | 15 | ECMVAE's released code |" in shown
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        main([])
