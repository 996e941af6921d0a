"""Weight files of other people: read without running their code, refused in one line."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from ecmvae.errors import UserError
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.weight_files import read_weight_file


def test_a_file_that_its_name_belies_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "resnet50-19c8e357.pth")
    found = sha256((tmp_path / "resnet50-19c8e357.pth").read_bytes()).hexdigest()
    message = rf"resnet50-19c8e357\.pth is not the file of that name: its SHA-256 begins with {found[:8]}, not 19c8e357"
    with pytest.raises(UserError, match=message) as raised:
        VisualBackbone("resnet50", weights=str(tmp_path / "resnet50-19c8e357.pth"))
    assert "\n" not in str(raised.value)
    (tmp_path / "resnet50-19c8e357.pth").rename(tmp_path / "mine-2023.pth")
    assert read_weight_file(tmp_path / "mine-2023.pth").keys() == {"a"}


class _Evil:
    def __reduce__(self) -> tuple:
        return (os.system, ("touch ecmvae-was-here",))


def test_files_that_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    torch.save({"a": _Evil()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "wrapped.pth")
    assert read_weight_file(tmp_path / "wrapped.pth") == {"a": torch.ones(1)}
    for name, message in {
        "none.pth": "not found",
        "cut.pth": "not a plain weight file",
        "code.pth": "asks to run code",
        "list.pth": "holds a list, not named tensors",
    }.items():
        with pytest.raises(UserError, match=message) as raised:
            read_weight_file(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert not Path("ecmvae-was-here").exists()
