"""`ecmvae data miniature` writes what `ecmvae check-data` finds whole."""

from pathlib import Path

import pytest

from ecmvae.cli import main


def test_the_three_of_avsbench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "miniature", str(tmp_path / "mini"), "--train", "1", "--test", "1"]) == 0
    assert (
        capsys.readouterr().out
        == f"{tmp_path}/mini: Single-source, Multi-sources and AVSS written\n"
    )
    assert main(["data", "check", str(tmp_path / "mini")]) == 0
    said = capsys.readouterr().out
    assert "s4: train 1, val 1, test 1" in said
    assert "ms3: train 1, val 1, test 1" in said
    assert main(["data", "check", str(tmp_path / "mini" / "AVSS")]) == 0
    assert main(["data", "miniature", str(tmp_path / "mini")]) == 2
    assert "exists already; choose another folder" in capsys.readouterr().err


def test_another_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "miniature", str(tmp_path / "is3"), "--name", "is3", "--test", "1"]) == 0
    assert main(["data", "check", str(tmp_path / "is3"), "--task", "is3"]) == 0
    assert "test 2" in capsys.readouterr().out  # every picture twice


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "is4"], "there is no miniature of 'is4': choose from vpo_ss"),
        (["--name", "is3", "--collage", "x"], "--collage has no effect with --name"),
        (["--collage", "nowhere"], "nowhere"),
        (["--train", "0"], "train must be from 1"),
    ],
)
def test_mistakes_leave_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "miniature", str(tmp_path / "mini"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mini").exists()
