"""Ray with real processes: a worker and the driver are killed, and every file is done once."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flash_clip import SAMPLE_RATE, beep, flash_frames
from onnx_listener import write_listener

from ecmvae.data.video import write_video

SHARED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_SHARED": secrets.token_hex(32)}
"""Environment of drivers and clusters: the token by which a driver may use a cluster."""


def clips(folder: Path, count: int) -> Path:
    """Clips of one second, 64 x 48, in which a box is bright and a tone is heard."""
    folder.mkdir()
    for number in range(count):
        frames = flash_frames(64, 48, count=12, flash=number % 12)
        write_video(
            folder / f"{number:03d}.mp4", frames, 12, beep(seconds=1.0, start=0.1), SAMPLE_RATE
        )
    return folder


class Run:
    """`ecmvae predict --executor ray` in a process of its own, and what it has finished so far."""

    def __init__(
        self, sources: Path, out: Path, model: Path, address: str | None, *more: str
    ) -> None:
        self.out, self.manifest = out, out / "manifest.jsonl"
        self.environment = {**os.environ, **SHARED, **({"RAY_ADDRESS": address} if address else {})}
        self.inodes: dict[str, tuple[int, int]] = {}
        self.words = [
            sys.executable, "-m", "ecmvae", "predict", str(sources), "--out", str(out), "--checkpoint", str(model),
            "--overlay", "false", "--jsonl", "--manifest", str(self.manifest), "--executor", "ray", "--workers", "2",
            *more,
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(self.words, env=self.environment, **pipe)

    def rows(self) -> list[dict[str, object]]:
        lines = self.manifest.read_text().split("\n")[:-1] if self.manifest.exists() else []
        return [json.loads(line) for line in lines]

    def look(self) -> None:
        """No output that was there may ever be another file, or be written again."""
        for path in self.out.glob("*.masks.jsonl"):
            now = path.stat()
            assert self.inodes.setdefault(path.name, (now.st_ino, now.st_mtime_ns)) == (
                now.st_ino,
                now.st_mtime_ns,
            )

    def wait_for(self, count: int, driver: subprocess.Popen[str]) -> None:
        while len(self.rows()) < count:
            assert driver.poll() is None, driver.communicate()[0]
            self.look()
            time.sleep(0.02)


def descendants(process: int) -> dict[int, str]:
    """Process id -> command of all that a process started, and of what these started."""
    commands, children = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            parent = (
                int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if entry.name.isdecimal()
                else 0
            )
            commands[int(entry.name)] = (entry / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found, open_ends = {}, [process]
    while open_ends:
        for child in children.get(open_ends.pop(), []):
            found[child] = commands[child]
            open_ends.append(child)
    return found


def alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ray_workers(process: int) -> list[int]:
    return [
        each for each, command in descendants(process).items() if command.startswith("ray::_Worker")
    ]


def kill_both_and_go_on(tmp_path: Path, count: int, cluster: tuple[int, str] | None = None) -> None:
    """Kill a worker after a quarter of the clips and the driver after half of them; then run the command again.

    Args:
        tmp_path: For everything.
        count: Of clips.
        cluster: Process that started Ray, and Ray's address; None = the driver starts it.
    """
    model = write_listener(tmp_path / "m.onnx", level=0.5)
    run = Run(
        clips(tmp_path / "clips", count), tmp_path / "out", model, cluster[1] if cluster else None
    )
    driver = run.start()
    run.wait_for(count // 4, driver)
    workers = ray_workers(cluster[0] if cluster else driver.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    run.wait_for(count // 2, driver)
    driver.send_signal(signal.SIGSTOP)  # else it may finish while its workers are looked up
    workers += ray_workers(cluster[0] if cluster else driver.pid)
    driver.kill()
    before = len(run.rows())
    assert count // 2 <= before < count
    driver.communicate()
    second = run.start()
    said = second.communicate()[0]
    assert second.returncode == 0, said
    assert not any(map(alive, workers))
    run.look()
    assert len(run.inodes) == count
    rows = run.rows()
    assert Counter(Path(str(row["source"])).name for row in rows) == {
        f"{number:03d}.mp4": 1 for number in range(count)
    }
    # "skipped": a process was killed between the outputs and their row; they are not made again, and not counted.
    frames = {"done": 12, "skipped": None}
    assert "done" in {row["status"] for row in rows}
    assert all(row["frames"] == frames[str(row["status"])] for row in rows)
    assert all((run.out / str(row["outputs"][0])).is_file() for row in rows)
    assert [path.name for path in run.out.iterdir() if path.name.startswith(".")] == []
    print(
        f"{before} of {count} files were noted when the driver was killed, {len(rows)} in the end"
    )


DEADLY = """
import os
from ecmvae.prediction.writers.base import FrameWriter

class DeadlyWriter(FrameWriter):
    ending = ".txt"

    def write(self, frame, result):
        if self.info.path.name == "001.mp4":
            os.abort()
        self.part.touch()
"""
"""A writer that ends its process at one of the files."""

CLUSTER = """
import ray
print(ray.init(num_cpus=2, include_dashboard=False).address_info["address"], flush=True)
input()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """A process that has started Ray, and Ray's address; drivers and workers find `deadly_writer`."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "deadly_writer.py").write_text(DEADLY)
    SHARED["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
        "text": True,
    }
    for _ in range(3):  # on a busy machine Ray gives up starting after half a minute
        with subprocess.Popen(
            [sys.executable, "-c", CLUSTER], env={**os.environ, **SHARED}, **pipes
        ) as process:
            assert process.stdout is not None
            if address := process.stdout.readline().strip():
                yield process.pid, address
                process.communicate("\n")
                return
    pytest.fail("Ray does not start here")


def test_a_killed_worker_and_a_killed_driver(tmp_path: Path, cluster: tuple[int, str]) -> None:
    kill_both_and_go_on(tmp_path, 12, cluster)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_file_on_which_workers_die_is_a_failed_file(
    tmp_path: Path, cluster: tuple[int, str]
) -> None:
    model = write_listener(tmp_path / "m.onnx", level=0.5)
    also = ("--also", "deadly_writer:DeadlyWriter")
    run = Run(clips(tmp_path / "clips", 4), tmp_path / "out", model, cluster[1], *also)
    driver = run.start()
    said = driver.communicate()[0]
    assert driver.returncode == 2, said
    rows = {Path(str(row["source"])).name: row for row in run.rows()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "000.mp4": "done", "001.mp4": "failed", "002.mp4": "done", "003.mp4": "done",
    }  # fmt: skip
    assert str(rows["001.mp4"]["error"]).endswith(
        "the worker died 3 times on it: is there enough memory?"
    )
    assert not list(run.out.glob("001*"))


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, cluster: tuple[int, str]
) -> None:
    (tmp_path / "m.onnx").write_text("no model")
    run = Run(clips(tmp_path / "clips", 2), tmp_path / "out", tmp_path / "m.onnx", cluster[1])
    driver = run.start()
    said = driver.communicate()[0]
    assert driver.returncode == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("ecmvae: error")]
    assert (
        line
        == f"ecmvae: error: {tmp_path / 'm.onnx'} is not a readable ONNX model: export it again"
    )
    assert run.rows() == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_200_clips_with_a_killed_worker_and_a_killed_driver(tmp_path: Path) -> None:
    kill_both_and_go_on(tmp_path, 200)
