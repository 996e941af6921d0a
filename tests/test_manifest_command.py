"""`ecmvae manifest` counts the rows of all shards, each file once."""

import json
from pathlib import Path

import pytest

from ecmvae.cli import main
from ecmvae.manifest import Manifest
from ecmvae.shards import Shard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two shards: three files done, one of which had failed at first, one skipped, and 21 bad ones."""
    path = tmp_path / "manifest.jsonl"
    with Manifest(path, {}, shard=Shard(1, 2)) as manifest:
        manifest.append(tmp_path / "a.mp4", "failed", "broken", took=900.0)
        manifest.append(tmp_path / "b.mp4", "done", seconds=1800.0, took=720.0)
        for number in range(21):
            manifest.append(
                tmp_path / f"bad{number}.mp4", "failed", "is empty", took=0.0, seconds=None
            )
    with Manifest(path, {}, shard=Shard(2, 2)) as manifest:
        manifest.append(tmp_path / "a.mp4", "done", seconds=1800.0, took=720.0)
        manifest.append(tmp_path / "c\n.mp4", "done", seconds=3600.0, took=1440.0)
        manifest.append(tmp_path / "d.mp4", "skipped")
    return path


def test_all_shards_together(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", str(path), "--out", str(tmp_path / "all.jsonl")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "2 manifests, 25 files: 3 done, 21 failed, 1 skipped",
        "2.00 h of video, done in 0.80 h of all processes together",
        f"failed {tmp_path}/bad0.mp4: is empty",
    ]
    assert len(lines) == 23
    assert lines[-1] == "and 1 more: --out FILE writes all rows"
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert len({row["source"] for row in rows}) == len(rows) == 25
    assert main(["manifest", str(path), "--out", str(tmp_path / "all.jsonl")]) == 2
    assert "exists: choose another --out" in capsys.readouterr().err


def test_without_failures_it_is_0(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path.parent / "manifest.1-of-2.jsonl").unlink()
    assert main(["manifest", str(path)]) == 0
    assert capsys.readouterr().out.startswith("1 manifest, 3 files: 2 done, 1 skipped\n")


def test_mistakes_are_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest", str(path.with_name("other.jsonl"))]) == 2
    (path.parent / "manifest.2-of-2.jsonl").write_text("{}\n")
    assert main(["manifest", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "there is no manifest" in lines[0]
    assert "line 1 of" in lines[1]
