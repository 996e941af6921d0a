"""What a stopped run is resumed from: its checkpoint is checked before anything goes on with it."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from ecmvae.config import Config, TrainConfig, load_config
from ecmvae.errors import UserError
from ecmvae.files import remove_leftovers, show_path
from ecmvae.training.callbacks import PREVIOUS_NAME, Resumable, as_tuple, limits
from ecmvae.training.module import SegmentationModule
from ecmvae.training.optimizer_state import FAULTS, check_optimizer
from ecmvae.visual.normalisation import IMAGENET, Normalisation

logger = logging.getLogger(__name__)

CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""Where a run folder keeps what a resumed run goes on from."""
PREVIOUS = CHECKPOINT.with_name(PREVIOUS_NAME)
"""The checkpoint before it, in case that one was torn by a power cut or damaged on the disk."""

_WRITTEN = (
    *(Path("config.yaml"), Path("differs.md"), CHECKPOINT, Path("best")),
    *(Path("history.jsonl"), Path("curves.png"), Path("not_finite.json")),
)


@dataclass(frozen=True)
class Resumption:
    """What a stopped run goes on from.

    Attributes:
        checkpoint: The file.
        epochs: Epochs that it has begun.
        ended: Whether the last of them is complete.
        stopped_by: The patience and the time budget of which one ended the run there; None if neither did.
        normalisation: Of the frames, as the run was started with.
    """

    checkpoint: Path
    epochs: int
    ended: bool
    stopped_by: dict[str, int | float | None] | None
    normalisation: Normalisation

    def finished(self, options: TrainConfig) -> bool:
        """Whether nothing is left to train: a run that was stopped goes on with another patience or budget only."""
        return self.ended and (self.epochs >= options.epochs or self.stopped_by == limits(options))


def checkpoints_of(run: Path) -> list[Path]:
    """The checkpoints in a run's folder, the newest first.

    Raises:
        UserError: When there are none.
    """
    found = [run / path for path in (CHECKPOINT, PREVIOUS) if (run / path).is_file()]
    if not found:
        raise UserError(
            f"nothing to resume in {show_path(run)}: {show_path(run / CHECKPOINT)} does not exist"
        )
    return found


def newest_good(checkpoints: Sequence[Path], module: SegmentationModule) -> Resumption:
    """The first of the checkpoints that can be resumed; a warning names those before it.

    Raises:
        UserError: When there is none: what is wrong with the first one.
    """
    first: UserError | None = None
    for path in checkpoints:
        try:
            resumption = check_checkpoint(path, module)
        except UserError as error:
            first = first or error
            continue
        if first is not None:
            reason = str(first).rpartition(": ")[0]  # without the remedy
            logger.warning(
                "%s; going on from %s, of epoch %d", reason, show_path(path), resumption.epochs
            )
        return resumption
    assert first is not None
    raise first


def newest_run(config: Config) -> Path | None:
    """The newest run below ``train.out`` that was started with this very configuration and has a checkpoint."""
    parent, name = Path(config.train.out), config.train.name
    numbered = [
        path for path in parent.glob(f"{escape(name)}-*") if path.name[len(name) + 1 :].isdecimal()
    ]
    for run in sorted(numbered, key=lambda path: int(path.name[len(name) + 1 :]), reverse=True):
        kept = any((run / path).is_file() for path in (CHECKPOINT, PREVIOUS))
        if kept and load_config(run / "config.yaml") == config:
            return run
    return None


def remove_run_leftovers(run: Path) -> None:
    """Delete the half-written files that a killed process has left in a run's folder."""
    for path in _WRITTEN:
        remove_leftovers(run / path)


def check_checkpoint(path: Path, module: SegmentationModule) -> Resumption:
    """Refuse what no run of this configuration has left.

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
        raise UserError(
            f"{show_path(path)} is of another model, first in {odd[0]}: resume with the settings it was started with"
        )
    try:
        (optimizer,) = saved["optimizer_states"]
        check_optimizer(optimizer, module.configure_optimizers())
        normalisation = saved.get("normalisation")  # older runs saved none: they used ImageNet's
        return Resumption(
            path,
            epochs=saved["epoch"] + 1,
            ended=bool(saved.get("epoch_ended", False)),
            stopped_by=saved.get("stopped_by"),
            normalisation=IMAGENET
            if normalisation is None
            else Normalisation.from_dict(normalisation),
        )
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
        raise UserError(
            f"{checkpoint} cannot be resumed ({type(error).__name__}: {error}): start a new run"
        ) from error


def _check_progress(saved: Any) -> None:
    """Epochs and steps stand in a checkpoint twice: for readers, and for Lightning to go on from."""
    loop = saved["loops"]["fit_loop"]
    steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"][
        "completed"
    ]
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
    return UserError(
        f"{show_path(path)} is not a checkpoint of ecmvae train, or damaged: start a new run"
    )
