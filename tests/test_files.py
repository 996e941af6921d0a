"""Files appear whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, remove_leftovers, replacing, require_space


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


KILLED = """
import os, signal, sys
from pathlib import Path
from ecmvae.files import replacing
with replacing(Path(sys.argv[1])) as part:
    part.write_text("half")
    part.with_suffix(".spool").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path / "other.npz")
    assert len(list(tmp_path.iterdir())) == 2
    path.write_text("whole")
    with replacing(path) as part:
        part.write_text("being written by a process that lives")
        remove_leftovers(path)
        assert sorted(tmp_path.iterdir()) == sorted([part, path])
    remove_leftovers(tmp_path / "no folder" / "a.npz")


DIES_BETWEEN_RENAMES = """
import os, signal, sys
from pathlib import Path
from ecmvae.files import replacing
rename = os.replace
def rename_and_die(*paths):
    rename(*paths)
    os.kill(os.getpid(), signal.SIGKILL)
with replacing(Path(sys.argv[1])) as part:
    part.mkdir()
    (part / "new").touch()
    os.replace = Path.replace = rename_and_die
"""


def test_a_folder_is_put_back_when_its_replacing_died_between_two_renames(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "old").touch()
    assert (
        subprocess.run([sys.executable, "-c", DIES_BETWEEN_RENAMES, folder], check=False).returncode
        == -9
    )
    assert not folder.exists()
    remove_leftovers(folder)
    assert list(tmp_path.rglob("*")) == [folder, folder / "old"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_content_reaches_the_disk_before_its_name_does(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(
        "os.fsync",
        lambda descriptor: done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name),
    )
    path = tmp_path / "a.txt"
    with replacing(path) as part:
        if kind == "file":
            part.write_text("whole")
        else:
            part.mkdir()
            (part / "inside").write_text("whole")
        assert done == []
    content = ["inside"] if kind == "folder" else []
    # by the temporary name, that is before the rename
    assert done == [*content, part.name, tmp_path.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 252 + ".mp4", "File name too long"),
        ("file/a.mp4", "file is not a folder"),
        ("file/new/a.mp4", "file is not a folder"),
        ("locked/new/a.mp4", "locked may not be written to"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir()
    allowed = os.access  # the tests may run as root, who may write everywhere
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "locked" and allowed(path, mode)
    )
    with pytest.raises(UserError, match=message):
        refuse_unwritable(tmp_path / name)
    refuse_unwritable(tmp_path / "new/folders/a.mp4")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_file_before_is_kept_where_asked_for(tmp_path: Path) -> None:
    path, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for content in ("first", "second", "third"):
        with replacing(path, previous) as part:
            part.write_text(content)
    assert (path.read_text(), previous.read_text()) == ("third", "second")
    with pytest.raises(OSError, match="full"), replacing(path, previous) as part:
        raise OSError("full")
    assert (path.read_text(), previous.read_text()) == ("third", "second")


def test_too_little_space_is_told_with_both_numbers(tmp_path: Path) -> None:
    require_space(tmp_path / "missing" / "folder", 1, "this run")
    with pytest.raises(
        OSError, match=r"no space left on .*\(this run needs 1000000000000 MB, \d+ MB are free\)"
    ):
        require_space(tmp_path / "missing", 10**18, "this run")
