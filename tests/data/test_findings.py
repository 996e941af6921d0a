"""What is wrong with a clip becomes findings, each in one line that names the file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecmvae.data.findings import SILENT_RMS, Finding, Look
from ecmvae.errors import UserError


def test_a_missing_file_is_never_read(tmp_path: Path) -> None:
    look = Look("clip")
    (tmp_path / "there").touch()
    paths = [tmp_path / name for name in ("there", "gone", "lost")]
    assert look.attempt(paths, lambda: pytest.fail("was read")) is None
    assert look.findings == [
        Finding("error", "missing-file", "clip", f"{path}: missing") for path in paths[1:]
    ]


def test_a_reader_that_refuses_is_a_finding_and_a_crash_is_not(tmp_path: Path) -> None:
    look, path = Look("clip"), tmp_path / "a"
    path.touch()

    def refuse(path: Path) -> None:
        raise UserError(f"{path} is no picture")

    assert look.read(path, refuse) is None
    assert look.findings == [Finding("error", "bad-file", "clip", f"{path} is no picture")]
    with pytest.raises(ZeroDivisionError):
        look.read(path, lambda path: 1 / 0)


def test_a_picture_of_another_size_is_a_bad_file(tmp_path: Path) -> None:
    look, path = Look("clip"), tmp_path / "a.png"
    path.touch()
    picture = np.zeros((4, 6, 3), np.uint8)
    assert look.read(path, lambda path: picture, (4, 6)) is picture
    assert not look.findings
    assert look.read(path, lambda path: picture, (6, 4)) is None
    assert [(each.severity, each.kind) for each in look.findings] == [("error", "bad-file")]


@pytest.mark.parametrize(("level", "silent"), [(0.9, True), (1.1, False)])
def test_silence_is_below_minus_80_db(level: float, silent: bool) -> None:
    assert pytest.approx(10 ** (-80 / 20)) == SILENT_RMS
    look = Look("clip")
    look.add_sound("a.wav", level * SILENT_RMS * torch.tensor([1.0, -1.0]).repeat(100))
    expected = [Finding("warning", "silent-audio", "clip", "a.wav: silent")]
    assert look.findings == (expected if silent else [])
