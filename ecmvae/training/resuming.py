"""What a stopped run is resumed from: its checkpoint is checked before anything goes on with it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from ecmvae.config import Config, load_config
from ecmvae.errors import UserError
from ecmvae.files import remove_leftovers
from ecmvae.training.callbacks import Resumable, as_tuple
from ecmvae.training.module import SegmentationModule
from ecmvae.training.optimizer_state import FAULTS, check_optimizer
from ecmvae.visual.normalisation import IMAGENET, Normalisation

CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""Where a run folder keeps what a resumed run goes on from."""

_WRITTEN = (Path("config.yaml"), CHECKPOINT, Path("best"), Path("history.jsonl"), Path("curves.png"))


def checkpoint_of(run: Path) -> Path:
    """The checkpoint in a run's folder.

    Raises:
        UserError: When there is none.
    """
    checkpoint = run / CHECKPOINT
    if not checkpoint.is_file():
        raise UserError(f"nothing to resume in {run}: {checkpoint} does not exist")
    return checkpoint


def newest_run(config: Config) -> Path | None:
    """The newest run below ``train.out`` that was started with this very configuration and has a checkpoint."""
    parent, name = Path(config.train.out), config.train.name
    numbered = [path for path in parent.glob(f"{escape(name)}-*") if path.name[len(name) + 1 :].isdecimal()]
    for run in sorted(numbered, key=lambda path: int(path.name[len(name) + 1 :]), reverse=True):
        if (run / CHECKPOINT).is_file() and load_config(run / "config.yaml") == config:
            return run
    return None


def remove_run_leftovers(run: Path) -> None:
    """Delete the half-written files that a killed process has left in a run's folder."""
    for path in _WRITTEN:
        remove_leftovers(run / path)


def check_checkpoint(path: Path, module: SegmentationModule) -> Normalisation:
    """Refuse what no run of this configuration has left; the normalisation that the run was started with.

    Raises:
        UserError: When the file is damaged, holds code, or is of another model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about pickles that it will refuse
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        shapes = {name: value.shape for name, value in saved["state_dict"].items()}
        _check_progress(saved)
        _check_generators(saved["generators"])
    except FAULTS as error:
        raise _damaged(path) from error
    ours = {name: value.shape for name, value in module.state_dict().items()}
    odd = sorted(name for name in ours.keys() | shapes.keys() if ours.get(name) != shapes.get(name))
    if odd:
        raise UserError(f"{path} is of another model, first in {odd[0]}: resume with the settings it was started with")
    try:
        (optimizer,) = saved["optimizer_states"]
        check_optimizer(optimizer, module.configure_optimizers())
        normalisation = saved.get("normalisation")  # runs of ecmvae 0.x saved none: they used ImageNet's
        return IMAGENET if normalisation is None else Normalisation.from_dict(normalisation)
    except FAULTS as error:
        raise _damaged(path) from error


@contextmanager
def restoring(trainer: Trainer, checkpoint: Path | None) -> Iterator[None]:
    """Blame the checkpoint for what fails while Lightning restores it, that is until training starts.

    Raises:
        UserError: In place of that exception; all later ones pass.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # a connector of Lightning's sets it
    (resumable,) = (callback for callback in callbacks if isinstance(callback, Resumable))
    try:
        yield
    except (UserError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if checkpoint is None or resumable.started:
            raise
        raise UserError(f"{checkpoint} cannot be resumed ({type(error).__name__}: {error}): start a new run") from error


def _check_progress(saved: Any) -> None:
    """Epochs and steps stand in a checkpoint twice: for readers, and for Lightning to go on from."""
    loop = saved["loops"]["fit_loop"]
    steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    epochs = loop["epoch_progress"]["current"]["completed"]
    for told, used in ((saved["global_step"], steps), (saved["epoch"], epochs)):
        if type(told) is not int or told != used or told < 0:
            raise ValueError(f"counts {told} and {used}")


def _check_generators(states: Any) -> None:
    """Let generators of our own take the states: they raise where the size or the kind is wrong."""
    if not isinstance(states, list) or not states:
        raise ValueError("no generators")
    for state in states:
        torch.Generator().set_state(state["torch"])
        random.Random().setstate(as_tuple(state["python"]))
        if any(not isinstance(each, torch.Tensor) for each in state["cuda"]):
            raise TypeError("a generator's state is a tensor")


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is not a checkpoint of ecmvae train, or damaged: start a new run")
