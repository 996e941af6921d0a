"""Several processes against one: the same scores, everything written once, failures and signals told as one's own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.models.checkpoint import load_model
from ecmvae.training.datamodule import build_datasets
from ecmvae.training.monitor import read_history
from ecmvae.training.run import run_processes, train


@pytest.fixture
def two(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A toy run of two processes, which start as copies of this one: spawned ones would import torch again."""
    monkeypatch.setattr("ecmvae.training.run.START_METHOD", "fork")
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    return lambda **overrides: tiny(train__devices=2, **overrides)


def fail(rank: int, error: Exception) -> None:
    """Process 1 fails; process 0 would wait for it for ever."""
    if rank == 1:
        raise error
    time.sleep(600)


@pytest.mark.parametrize(
    "error", [UserError("no such clip"), FloatingPointError("not finite"), OSError(28, "disk full")]
)
def test_a_failure_of_one_process_ends_all_and_arrives_as_it_was(two, error) -> None:
    with pytest.raises(type(error)) as raised:
        run_processes(two(), fail, error)
    assert str(raised.value) == str(error)


def wait_for_sigterm(rank: int, folder: Path) -> None:
    """Leaves as a training process does: orderly, told by a SIGTERM."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    (folder / str(rank)).touch()
    if rank == 1:
        while not (folder / "0").exists():
            time.sleep(0.01)
        os.kill(os.getppid(), int((folder / "signal").read_text()))
    while not told:
        time.sleep(0.01)
    raise SystemExit(128 + told[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_reach_the_processes_and_decide_the_exit_code(two, tmp_path, number, code) -> None:
    (tmp_path / "signal").write_text(str(int(number)))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left:
        run_processes(two(), wait_for_sigterm, tmp_path)
    assert left.value.code == code
    assert signal.getsignal(number) == before


def test_two_processes_train_and_score_as_one(two, monkeypatch) -> None:
    """Seven validation clips on two processes: one comes twice, and counts once."""
    monkeypatch.setattr("ecmvae.training.run.draw_curves", lambda history, picture: picture.touch())
    config = two(data__val_length=7, train__cache_features=False, train__log_images=1)
    run = train(config)
    assert sorted(path.name for path in run.parent.iterdir()) == ["debug-001"]
    left = sorted(path.name.partition(".tfevents")[0] for path in run.iterdir())
    assert left == ["best", "checkpoints", "config.yaml", "curves.png", "events.out", "history.jsonl", "run.lock"]
    rows = read_history(run / "history.jsonl")
    assert [row["step"] for row in rows] == [1, 3, 3, 6, 6]
    saved = json.loads((run / "best" / "metadata.json").read_text())
    report = evaluate(load_model(run), build_datasets(config)[1], EvaluateSettings(sounds=("real",), progress=False))
    assert report.about["clips"] == 7
    assert report.miou == pytest.approx(saved["val/miou"], abs=1e-6)
    assert report.fscore == pytest.approx(saved["val/fscore"], abs=1e-6)
    generators = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["generators"]
    assert len(generators) == 2
    assert not torch.equal(generators[0]["torch"], generators[1]["torch"])  # they sample noise of their own
    assert not dist.is_initialized()


def command(*words: str) -> subprocess.Popen[str]:
    """The command line in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "ecmvae", "train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_command_stops_resumes_to_the_bit_and_tells_failures(tiny, tmp_path: Path) -> None:
    """SIGTERM to the parent alone, Ctrl-C to the whole group as a terminal sends it, and a loss that explodes."""
    (tmp_path / "run.yaml").write_text(tiny(train__epochs=3, train__devices=2, data__length=32).to_yaml())
    whole, *stopped = (tmp_path / name / "debug-001" for name in ("whole", "term", "int"))
    started = ["--config", str(tmp_path / "run.yaml"), "--train.out"]
    assert command(*started, str(whole.parent)).wait() == 0
    for run, number, send, code in zip(
        stopped, (signal.SIGTERM, signal.SIGINT), (os.kill, os.killpg), (143, 130), strict=True
    ):
        process = command(*started, str(run.parent))
        while len(read_history(run / "history.jsonl")) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        send(process.pid, number)
        _, errors = process.communicate()
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert 8 <= checkpoint["global_step"] < 24, "the test must stop the run before its end"
        assert command("--resume", str(run)).wait() == 0
        ours, theirs = (
            torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in (run, whole)
        )
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
        assert read_history(run / "history.jsonl") == read_history(whole / "history.jsonl")
    exploding = command(
        *started, str(tmp_path / "nan"), "--train.learning_rate", "1e30", "--train.schedule", "constant"
    )
    _, errors = exploding.communicate()
    assert exploding.returncode == 1
    assert errors.splitlines()[-1].startswith("ecmvae: failed: the loss is no longer a finite number at step")
    assert "Traceback" not in errors
