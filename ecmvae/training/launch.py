"""Processes of a distributed run, which Lightning, torchrun or SLURM starts: the configuration is fitted to them."""

from __future__ import annotations

import atexit
import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy

from ecmvae.config import Config, TrainConfig
from ecmvae.errors import UserError

_START_METHODS = {"auto": "popen", "ddp": "popen", "ddp_spawn": "spawn", "ddp_notebook": "fork"}


class LostProcessError(ConnectionError):
    """Another process of a distributed run has ended, and this one cannot go on without it."""


def fit_to_launcher(config: Config) -> Config:
    """The configuration with as many devices and nodes as torchrun or SLURM has started processes for.

    Without either it stays as it is, and Lightning starts the processes of one node.

    Raises:
        UserError: When ``train.devices`` and ``train.num_nodes`` say otherwise, do not share the batch equally, or
            the variables of the launcher are incomplete.
    """
    found = _started()
    if found is None:
        return config
    devices, nodes, launcher = found
    told = config.train.devices, config.train.num_nodes
    if told not in ((1, 1), (devices, nodes)):
        raise UserError(
            f"{launcher} started {devices} processes on each of {nodes} nodes, but train.devices={told[0]} and "
            f"train.num_nodes={told[1]}: leave both away, or make them agree"
        )
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, devices=devices, num_nodes=nodes)
    )


def _started() -> tuple[int, int, str] | None:
    """Processes on a node, nodes, and what started them."""
    if TorchElasticEnvironment.detect():
        world, here = _number("WORLD_SIZE", "torchrun"), _number("LOCAL_WORLD_SIZE", "torchrun")
        if world % here:
            raise UserError(
                f"torchrun started {world} processes, {here} of them here: start as many on every node"
            )
        return here, world // here, "torchrun"
    if not SLURMEnvironment.detect():
        return None
    tasks, nodes = _number("SLURM_NTASKS", "SLURM"), _number("SLURM_NNODES", "SLURM", default=1)
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
        _number(name, "SLURM", least=0)
    if "SLURM_NTASKS_PER_NODE" not in os.environ and tasks > 1:
        raise UserError(
            f"SLURM has {tasks} tasks, but does not say how many a node: set --ntasks-per-node, not --ntasks"
        )
    return _number("SLURM_NTASKS_PER_NODE", "SLURM", default=1), nodes, "SLURM"


def _number(name: str, launcher: str, *, least: int = 1, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal() or int(text) < least:
        hint = (
            "start it with srun, or unset SLURM_NTASKS"
            if launcher == "SLURM"
            else "start it with torchrun"
        )
        raise UserError(f"{launcher} is at work here, but {name} is {text or 'not set'}: {hint}")
    return int(text)


def choose_strategy(options: TrainConfig) -> Strategy | str:
    """How the processes exchange gradients.

    Every process holds the whole model: none here is so large (under 200 M parameters) that sharding it would help.
    """
    if options.devices * options.num_nodes == 1:
        return "auto"
    # Parameters may go unused, such as those of heads whose loss has no weight.
    return DDPStrategy(find_unused_parameters=True, start_method=_START_METHODS[options.strategy])  # type: ignore[arg-type]


def destroy_group_at_exit() -> None:
    """Have the processes of this run part before Python ends, as PyTorch's documentation asks.

    Lightning does so for NCCL only. A thread of Gloo that still holds tensors while Python ends aborts the process:
    one that leaves early, as all but the first do, then takes the run with it. Meant for any number of calls.
    """
    atexit.unregister(_destroy_group)
    atexit.register(_destroy_group)


def _destroy_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def stop_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask a run to save and leave: SIGTERM, Ctrl-C and, in a job of SLURM, SIGUSR1."""
    ask = (signal.SIGTERM, signal.SIGINT)
    return (*ask, signal.SIGUSR1) if "SLURM_JOB_ID" in os.environ else ask


def requeue() -> None:
    """Ask SLURM to start this job again, as Lightning does, but after a checkpoint between two steps.

    Raises:
        OSError: When SLURM refuses.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = (
        os.environ["SLURM_JOB_ID"]
        if array is None
        else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    )
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        raise OSError(
            f"the checkpoint is saved, but scontrol requeue {job} failed: {done.stderr.strip()}"
        )


@contextmanager
def telling_lost_processes(trainer: Trainer) -> Iterator[None]:
    """Turn the failure of an exchange with a process that has ended into one line of the first process.

    Raises:
        LostProcessError: In the first process.
        SystemExit: In the others, which have nothing to add.
    """
    try:
        yield
    except RuntimeError as error:
        alone = trainer.world_size == 1
        if alone or not (
            isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
        ):
            raise
        if not trainer.is_global_zero:
            raise SystemExit(1) from None
        raise LostProcessError(
            "another process of this run has ended; its own message, if it had one, stands above: once an epoch is "
            "done --resume goes on"
        ) from error
