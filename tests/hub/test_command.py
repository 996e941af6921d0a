"""`ecmvae models` lists what is registered and shows cards."""

from pathlib import Path

import pytest

from ecmvae.cli import main
from ecmvae.hub.named_models import named_models


def test_the_list_names_every_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for model in named_models().values():
        (line,) = (line for line in lines if f" {model.name} " in line)
        assert f"{model.size / 1e6:.1f}" in line
        assert model.licence in line
        assert model.state()[0] in line


def test_a_card_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.yaml", "model.safetensors"):
        (tmp_path / name).touch()
    assert main(["models", "--card", str(tmp_path)]) == 2
    assert "has no card" in capsys.readouterr().err
    (tmp_path / "README.md").write_text("# [bold]Mine[/bold] :smile:\n")
    assert main(["models", "--card", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == "# [bold]Mine[/bold] :smile:"


def test_a_wrong_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--card", "colage-smal"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean collage-small?" in error
