"""What torchrun and SLURM say about a run's processes, and what a configuration may say beside them."""

import atexit
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ecmvae.config import Config, load_config
from ecmvae.errors import UserError, process_rank
from ecmvae.training.launch import (
    destroy_group_at_exit,
    fit_to_launcher,
    requeue,
    stop_signals,
)
from ecmvae.training.monitor import read_history
from ecmvae.training.run import _on_this_machine, train

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "RANK": "3",
    "LOCAL_RANK": "1",
}
SRUN = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "avs",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Variables of a launcher; None takes one away."""

    def start(variables: dict[str, str], **changes: str | None) -> None:
        for name, value in (variables | changes).items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(
                name, value
            )

    return start


def config(**train: object) -> Config:
    return load_config([], {f"train.{key}": value for key, value in train.items()})


@pytest.mark.parametrize("launcher", [TORCHRUN, SRUN])
def test_the_launcher_says_how_many_processes_there_are(launched, launcher) -> None:
    launched(launcher)
    fitted = fit_to_launcher(config(batch_size=8)).train
    assert (fitted.devices, fitted.num_nodes, process_rank()) == (2, 2, 3)
    assert fit_to_launcher(config(devices=2, num_nodes=2)).train.devices == 2
    with pytest.raises(
        UserError, match=r"started 2 processes on each of 2 nodes, but train\.devices=4"
    ):
        fit_to_launcher(config(devices=4))
    with pytest.raises(
        UserError, match=r"train\.batch_size=6 cannot be shared equally by 4 processes"
    ):
        fit_to_launcher(config(batch_size=6))


def test_without_a_launcher_nothing_changes() -> None:
    assert fit_to_launcher(config(devices=2)) == config(devices=2)


@pytest.mark.parametrize(
    ("variables", "changes", "message"),
    [
        (
            SRUN,
            {"SLURM_NTASKS_PER_NODE": None},
            "SLURM has 4 tasks, but does not say how many a node",
        ),
        (
            SRUN,
            {"SLURM_PROCID": None},
            "SLURM is at work here, but SLURM_PROCID is not set: start it with srun",
        ),
        (SRUN, {"SLURM_NNODES": "two"}, "SLURM_NNODES is two"),
        (SRUN, {"SLURM_NTASKS": "0"}, "SLURM_NTASKS is 0"),
        (
            TORCHRUN,
            {"LOCAL_WORLD_SIZE": None},
            "torchrun is at work here, but LOCAL_WORLD_SIZE is not set",
        ),
        (TORCHRUN, {"LOCAL_WORLD_SIZE": "3"}, "start as many on every node"),
    ],
)
def test_incomplete_variables_are_one_line(launched, variables, changes, message) -> None:
    launched(variables, **changes)
    with pytest.raises(UserError, match=message) as raised:
        fit_to_launcher(config())
    assert "\n" not in str(raised.value)


def test_precision_auto_is_decided_by_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr("ecmvae.training.run.multiplies_bfloat16", lambda kind, has=has: has)
        assert _on_this_machine(config(precision="auto", device="cpu")).train.precision == expected


def test_what_the_machine_lacks_is_one_line() -> None:
    with pytest.raises(UserError, match="batch_norm=sync needs CUDA GPUs, not cpu"):
        _on_this_machine(config(batch_norm="sync", device="cpu"))


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `scontrol` on the path that notes its arguments."""
    called, program = tmp_path / "called", tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {called}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return called


def test_slurm_starts_a_job_again_by_its_number(launched, scontrol: Path) -> None:
    launched(SRUN)
    requeue()
    assert scontrol.read_text() == "requeue 77\n"
    launched(SRUN, SLURM_ARRAY_JOB_ID="70", SLURM_ARRAY_TASK_ID="7")
    requeue()
    assert scontrol.read_text() == "requeue 70_7\n"
    (scontrol.parent / "bin" / "scontrol").write_text("#!/bin/sh\necho not allowed >&2\nexit 1\n")
    with pytest.raises(OSError, match="scontrol requeue 70_7 failed: not allowed"):
        requeue()


def test_usr1_saves_requeues_and_the_next_start_goes_on(
    tiny, launched, scontrol: Path, monkeypatch
) -> None:
    """A job of one task, told that its time is up in its second step; then the same command again."""
    options = tiny(train__epochs=2, data__val_length=2)
    whole = train(options)
    alone = {
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "1",
        "SLURM_PROCID": "0",
    }
    launched(SRUN | alone, SLURM_LOCALID="0", SLURM_NODEID="0")
    assert signal.SIGUSR1 in stop_signals()
    steps = []

    def step(self, *arguments, original=torch.optim.Adam.step, **keywords):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    job = tiny(train__name="job", train__epochs=2, data__val_length=2)
    with pytest.raises(SystemExit) as left:
        train(job, resume="auto")
    assert (left.value.code, scontrol.read_text(), len(steps)) == (0, "requeue 77\n", 2)
    run = train(job, resume="auto")
    assert (run.name, len(steps)) == ("job-001", 6)
    assert read_history(run / "history.jsonl") == read_history(whole / "history.jsonl")
    assert train(tiny(train__name="job", train__epochs=1), resume="auto").name == "job-002"


def test_processes_part_before_python_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of Gloo left over when Python ends aborts the process (pytorch/pytorch#190489)."""
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", lambda _: at_exit.clear())
    destroy_group_at_exit()
    destroy_group_at_exit()
    (part,) = at_exit
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    part()
    assert not dist.is_initialized()
    part()  # after the caller's own destroy_process_group
