"""The command line of studies: mistakes are one line, and come before anything is run."""

from pathlib import Path

import pytest
from study_folders import make_run

from ecmvae.cli import main

SMALL = ["--config", "debug", "--data.length", "4", "--data.val_length", "2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.epoch", "3"], "did you mean --train.epochs?"),
        (["--epochs", "3"], "unknown option --epochs"),
        (["loss.kll=0"], "did you mean 'loss.kl'?"),
        (["model.visual.name=resnet5"], "variant model.visual.name=resnet5: "),
        (["--seeds", "1,1"], "a seed is named twice"),
        (
            ["--seeds", "few"],
            "--seeds takes whole numbers separated by commas, such as 0,1,2, got 'few'",
        ),
        (["--seeds", "-1"], "seeds must be from 0"),
        (["--train.seed", "3"], "a study sets --train.seed itself: use --seeds"),
        (["--task", "s4"], "say where s4 lies: --score_on FOLDER"),
        (["--score_on", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "run", *SMALL, *words, "--out", str(tmp_path / "study")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "study").exists()


def test_a_dry_run_lists_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "study"), "--dry_run", "--seeds", "4,7"]
    assert main(["study", "run", *SMALL, "ablations/no_kl", "--train.epochs=1", *out]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "base: seeds 4, 7",
        "no_kl: seeds 4, 7",
        "4 runs, all as they should be; none was started",
    ]
    assert not (tmp_path / "study").exists()


def test_show_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs" / "a-0", 0.25)
    make_run(tmp_path / "runs" / "b-0", 0.5, loss__kl=0.0)
    words = [
        str(tmp_path / "runs"),
        "--base",
        str(tmp_path / "runs" / "b-0"),
        "--scores",
        "[val/*]",
    ]
    assert main(["study", "show", *words, "--out", str(tmp_path / "table")]) == 0
    said = capsys.readouterr().out
    assert said.startswith((tmp_path / "table.md").read_text())
    assert "| loss.kl=0.01 | 1 | 0.2500 |" in said
    assert sorted(path.suffix for path in tmp_path.glob("table.*")) == [
        ".csv",
        ".json",
        ".md",
        ".png",
    ]


def test_show_names_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "show", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
