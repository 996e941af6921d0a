"""Locks between real processes, some of which are killed."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecmvae.errors import UserError
from ecmvae.locks import locked, temporary_folder

HOLDER = """
import os, sys, time
from pathlib import Path
from ecmvae.locks import locked, temporary_folder
with locked(Path(sys.argv[1])), temporary_folder("ecmvae-test-") as folder:
    (folder / "upload.mp4").touch()
    running, started = os.pipe()
    child = os.fork()  # as a worker of a DataLoader
    if child == 0:
        os.write(started, b"x")  # behind what a forked child does first
        time.sleep(60)
        os._exit(0)
    os.read(running, 1)
    print(child, folder, flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_ends_with_it_though_a_worker_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, temporary = tmp_path / "run", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    child, folder = holder.stdout.readline().split()
    try:
        with pytest.raises(UserError) as refused, locked(run):
            pass
        assert str(refused.value) == (
            f"{run} is in use by process {holder.pid} on {platform.node()}: stop it or wait until it has ended"
        )
        with temporary_folder("ecmvae-test-") as ours:
            assert Path(folder, "upload.mp4").exists()
            assert ours.parent == temporary
        holder.kill()
        assert holder.wait() == -signal.SIGKILL
        os.kill(int(child), 0)  # the worker lives
        with locked(run):
            assert (run / "run.lock").read_text() == f"process {os.getpid()} on {platform.node()}\n"
        assert Path(folder).exists()
        with temporary_folder("ecmvae-test-") as ours:
            assert list(temporary.iterdir()) == [ours]
    finally:
        os.kill(int(child), signal.SIGKILL)
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert list(temporary.iterdir()) == []


def test_a_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path):
            _ = 1 / 0


def test_only_own_folders_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "users").mkdir()
    (tmp_path / "ecmvae-test-link").symlink_to("users")
    (tmp_path / "ecmvae-test-file").touch()
    (tmp_path / "ecmvae-test-old").mkdir()
    with temporary_folder("ecmvae-test-"):
        left = {path.name for path in tmp_path.iterdir()}
        assert left >= {"users", "ecmvae-test-link", "ecmvae-test-file"}
        assert "ecmvae-test-old" not in left
    (tmp_path / "ecmvae-test-theirs").mkdir()
    monkeypatch.setattr("os.getuid", lambda: (tmp_path / "users").stat().st_uid + 1)
    with temporary_folder("ecmvae-test-"):
        assert (tmp_path / "ecmvae-test-theirs").exists()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the user's")
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.lock").symlink_to(tmp_path / "notes.txt")
    with pytest.raises(OSError, match="run"), locked(run):
        pass
    assert (tmp_path / "notes.txt").read_text() == "the user's"
