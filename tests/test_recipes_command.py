"""`ecmvae configs`: what it lists can be trained, what it shows and copies is the same run."""

from pathlib import Path

import pytest
import yaml

from ecmvae.cli import main
from ecmvae.config import config_from_dict, load_config


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[0] == "s4_pvt" and "PVTv2-b5" in line for line in lines)
    assert not any(line.startswith("layers/") for line in lines)
    assert main(["configs", "list", "--all"]) == 0
    assert sum(line.startswith("layers/") for line in capsys.readouterr().out.splitlines()) > 5


def test_show_is_the_whole_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "show", "s4_pvt"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# ECMVAE in its published form")
    assert config_from_dict(yaml.safe_load(shown)) == load_config("s4_pvt")


def test_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "copy", "ms3_pvt"]) == 0
    assert load_config(tmp_path / "ms3_pvt.yaml") == load_config("configs/ms3_pvt.yaml")
    assert main(["configs", "copy", "ms3_pvt"]) == 2  # the file, and it would be replaced by itself
    assert "--force" in capsys.readouterr().err
    assert main(["configs", "copy", "s4_pvt", "--out", "ms3_pvt.yaml", "--force"]) == 0
    assert load_config("ms3_pvt.yaml") == load_config("s4_pvt")
    assert main(["configs", "copy", "s4_pw"]) == 2
    assert "did you mean s4_pvt" in capsys.readouterr().err
