"""The commit that a result names is the checkout's."""

import subprocess
import tomllib
from pathlib import Path

import pytest

import ecmvae
from ecmvae import provenance

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _asked_anew():
    provenance.source_commit.cache_clear()
    yield
    provenance.source_commit.cache_clear()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_it_is_the_commit_of_this_checkout() -> None:
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    told = provenance.source_commit().removesuffix("-dirty")
    assert head.startswith(told.rpartition("-g")[2])  # tag-distance-gHASH, or the hash alone
    assert len(told) >= 7


def test_without_git_and_without_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "ecmvae"
    package.mkdir()
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert provenance.source_commit() == ""
    (tmp_path / ".git").mkdir()  # a folder of that name, but no repository
    provenance.source_commit.cache_clear()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.source_commit() == "unknown"


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert provenance.__version__ == project["version"] == ecmvae.__version__
