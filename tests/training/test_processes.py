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
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.models.checkpoint import load_model
from ecmvae.training.datamodule import build_datasets
from ecmvae.training.monitor import read_history
from ecmvae.training.run import train


@pytest.fixture
def two(tiny: Callable[..., Config]) -> Callable[..., Config]:
    """A toy run of two processes, which start as copies of this one: spawned ones would import torch again."""
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    return lambda **overrides: tiny(train__devices=2, train__strategy="ddp_notebook", **overrides)


def test_two_processes_train_and_score_as_one(two, monkeypatch) -> None:
    """Seven validation clips on two processes: one comes twice, and counts once."""
    monkeypatch.setattr("ecmvae.training.run.draw_curves", lambda history, picture: picture.touch())
    parting: list[bool] = []
    monkeypatch.setattr(
        "ecmvae.training.run.destroy_group_at_exit", lambda: parting.append(dist.is_initialized())
    )
    config = two(data__val_length=7, train__cache_features=False, train__log_images=1)
    run = train(config)
    assert parting == [False]
    assert sorted(path.name for path in run.parent.iterdir()) == ["debug-001"]
    left = sorted(path.name.partition(".tfevents")[0] for path in run.iterdir())
    written = [
        "best",
        "checkpoints",
        "config.yaml",
        "curves.png",
        "differs.md",
        "events.out",
        "history.jsonl",
    ]
    assert left == [*written, "run.lock"]
    rows = read_history(run / "history.jsonl")
    assert [row["step"] for row in rows] == [1, 3, 3, 6, 6]
    saved = json.loads((run / "best" / "metadata.json").read_text())
    report = evaluate(
        load_model(run),
        build_datasets(config)[1],
        EvaluateSettings(sounds=("real",), progress=False),
    )
    assert report.about["clips"] == 7
    assert report.miou == pytest.approx(saved["val/miou"], abs=1e-6)
    assert report.fscore == pytest.approx(saved["val/fscore"], abs=1e-6)
    generators = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["generators"]
    assert len(generators) == 2
    # they sample noise of their own
    assert not torch.equal(generators[0]["torch"], generators[1]["torch"])
    assert not dist.is_initialized()


def command(*words: str, start: tuple[str, ...] = ("-m", "ecmvae")) -> subprocess.Popen[str]:
    """The command line in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, *start, "train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ecmvae")
DETERMINISTIC = {
    "model__latent__kind": "none",  # every process draws latents of its own
    "train__batch_norm": "frozen",
    "train__epochs": 3,
    "train__cache_features": False,
    "data__val_length": 7,
    "data__length": 16,
}


@pytest.mark.timeout(600)
def test_torchrun_gives_the_losses_and_scores_of_one_process(
    tiny, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("ecmvae.training.module.LOG_EVERY_STEPS", 1)
    alone = train(tiny(**DETERMINISTIC))
    config = tiny(**DETERMINISTIC, train__name="together")
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    process = command("--config", str(tmp_path / "run.yaml"), start=TORCHRUN)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    together = alone.with_name("together-001")
    assert sorted(path.name for path in alone.parent.iterdir()) == [alone.name, together.name]
    ours, theirs = (read_history(run / "history.jsonl") for run in (alone, together))
    theirs_by_step = {row["step"]: row["train/total"] for row in theirs if "train/total" in row}
    ours_by_step = {row["step"]: row["train/total"] for row in ours if "train/total" in row}
    # the command logs every twentieth and last steps
    assert set(theirs_by_step) == {1, 4, 8, 12} <= set(ours_by_step)
    for step, loss in theirs_by_step.items():
        assert loss == pytest.approx(ours_by_step[step], abs=1e-4)
    scores, expected = ([row for row in rows if "val/miou" in row] for rows in (theirs, ours))
    assert len(scores) == len(expected) == 3
    for one, other in zip(scores, expected, strict=True):
        assert one["val/miou"] == pytest.approx(other["val/miou"], abs=1e-4)
        assert one["val/fscore"] == pytest.approx(other["val/fscore"], abs=1e-4)


def test_accumulated_batches_of_one_take_the_steps_of_a_batch_of_four(tiny) -> None:
    """Adam's first moment after one step is a tenth of the gradient; later steps follow from it."""
    one_step = DETERMINISTIC | {"data__length": 4, "train__epochs": 1}
    whole = train(tiny(**one_step))
    split = train(tiny(**(one_step | {"train__batch_size": 1, "train__accumulate": 4})))
    first, second = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, split)
    )
    assert first["global_step"] == second["global_step"] == 1
    moments, others = (each["optimizer_states"][0]["state"] for each in (first, second))
    assert moments.keys() == others.keys()
    for index, moment in moments.items():
        torch.testing.assert_close(others[index]["exp_avg"], moment["exp_avg"], rtol=0, atol=1e-6)
    assert max(float(moment["exp_avg"].abs().max()) for moment in moments.values()) > 1e-4


LONG = {"model__visual__name": "efficientnet_lite0", "data__image_size": 64, "data__length": 32}
"""A run that takes long enough to be stopped in the middle."""


def wait_for_rows(process: subprocess.Popen[str], run: Path, rows: int) -> None:
    while len(read_history(run / "history.jsonl")) < rows:
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("start", [("-m", "ecmvae"), TORCHRUN], ids=["lightning", "torchrun"])
def test_a_killed_process_ends_the_run_which_resumes(tiny, tmp_path: Path, start) -> None:
    (tmp_path / "run.yaml").write_text(tiny(train__epochs=40, train__devices=2, **LONG).to_yaml())
    run = tmp_path / "runs" / "debug-001"
    process = command("--config", str(tmp_path / "run.yaml"), start=start)
    wait_for_rows(process, run, 4)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    ).stdout.split()
    victim = (
        max(map(int, children))
        if start is TORCHRUN
        else next(
            int(child)
            for child in children
            if "ecmvae" in Path(f"/proc/{child}/cmdline").read_text()
        )
    )
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    ours = [line for line in errors.splitlines() if line.startswith("ecmvae: ")]
    # Lightning kills the first process when it happens to look before that has spoken.
    assert ours or process.returncode == -signal.SIGKILL
    assert all("another process of this run has ended" in line for line in ours)
    assert len(ours) <= 1
    assert command("--resume", str(run), "--train.epochs", "40").wait() == 0
    steps = [row["step"] for row in read_history(run / "history.jsonl") if "val/miou" in row]
    assert steps == [8 * (epoch + 1) for epoch in range(40)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_command_stops_resumes_to_the_bit_and_tells_failures(tiny, tmp_path: Path) -> None:
    """SIGTERM to the parent alone, Ctrl-C to the whole group as a terminal sends it, and a loss that explodes."""
    (tmp_path / "run.yaml").write_text(tiny(train__epochs=3, train__devices=2, **LONG).to_yaml())
    whole, *stopped = (tmp_path / name / "debug-001" for name in ("whole", "term", "int"))
    started = ["--config", str(tmp_path / "run.yaml"), "--train.out"]
    assert command(*started, str(whole.parent)).wait() == 0
    for run, number, send, code in zip(
        stopped, (signal.SIGTERM, signal.SIGINT), (os.kill, os.killpg), (143, 130), strict=True
    ):
        process = command(*started, str(run.parent))
        wait_for_rows(process, run, 2)
        send(process.pid, number)
        _, errors = process.communicate()
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert 8 <= checkpoint["global_step"] < 24, "the test must stop the run before its end"
        assert command("--resume", str(run)).wait() == 0
        ours, theirs = (
            torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for each in (run, whole)
        )
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
        assert read_history(run / "history.jsonl") == read_history(whole / "history.jsonl")
    exploding = command(
        *started,
        str(tmp_path / "nan"),
        "--train.learning_rate",
        "1e30",
        "--train.schedule",
        "constant",
    )
    _, errors = exploding.communicate()
    assert exploding.returncode == 1
    assert any(
        line.startswith("ecmvae: failed: the loss is no longer a finite number")
        for line in errors.splitlines()
    )
    assert "Traceback" not in errors
