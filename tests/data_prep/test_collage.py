"""The command as a user calls it, but in this process."""

import runpy
from pathlib import Path

import pytest
from collage_fixture import make_sources

from ecmvae.data.collage import packages as collage_packages
from ecmvae.data.collage.items import FORMAT
from ecmvae.data.collage.table import packaged_table

COMMAND = Path(__file__).parents[2] / "data_prep" / "collage.py"


@pytest.fixture(scope="module")
def call():
    """``call("--out", folder, ...)`` gives the exit code."""
    main = runpy.run_path(str(COMMAND))["main"]
    return lambda *words: main([str(word) for word in words])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache in which drawn sources lie under the name of the real ones."""
    cache = tmp_path_factory.mktemp("cache")
    make_sources(cache / f"sources-{FORMAT}-{packaged_table().digest[:12]}")
    return cache


def test_writes_and_then_refuses_to_write_over(call, cache, tmp_path, capsys):
    words = (
        "--out",
        tmp_path / "c",
        "--size",
        32,
        "--clips",
        1,
        "--splits",
        "val",
        "test_seen",
        "--cache",
        cache,
    )
    words = (*words, "--workers", 1, "--no-video", "--quiet")
    assert call(*words) == 0
    assert capsys.readouterr().err == ""
    assert len(list((tmp_path / "c").rglob("*.wav"))) == 4
    assert not list((tmp_path / "c").rglob("*.mp4"))
    assert call(*words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is not empty" in said
    assert call(*words, "--force") == 0


def test_machine_without_apt_is_told_what_to_do(call, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(collage_packages.shutil, "which", lambda _: None)
    assert call("--out", tmp_path / "c", "--cache", tmp_path / "cache", "--quiet") == 2
    assert "apt-get is not installed" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_help_teaches(call, capsys):
    with pytest.raises(SystemExit, match="0"):
        call("--help")
    said = capsys.readouterr().out
    assert "test_unseen" in said
    assert "montage" in said
