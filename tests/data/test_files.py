"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from ecmvae.data.files import replacing


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as part:
        assert part.suffix == ".txt"
        part.write_text("hello")
        assert not path.exists()
    assert path.read_text() == "hello"
    assert list(path.parent.iterdir()) == [path]


def _make_twice(folder: Path) -> None:
    for _ in range(2):
        folder.mkdir()


def _half_written(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as part:
        _half_written(part)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_too(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with replacing(tmp_path / "folder") as part:
            part.mkdir()
            (part / content).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    with pytest.raises(FileExistsError), replacing(tmp_path / "folder") as part:
        _make_twice(part)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_long_names_have_room_for_the_temporary_suffix(tmp_path: Path) -> None:
    path = tmp_path / ("猫" * 80 + ".mp4")  # 244 bytes of 255
    with replacing(path) as part:
        part.touch()
    assert path.exists()
