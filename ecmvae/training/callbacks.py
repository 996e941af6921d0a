"""What makes a run safe: resumed to the bit, stopped by a signal without loss, its best model kept."""

from __future__ import annotations

import random
import signal
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from ecmvae.config import TrainConfig
from ecmvae.files import replacing, require_space
from ecmvae.models.checkpoint import save_model
from ecmvae.provenance import __version__, source_commit
from ecmvae.training.datamodule import ClipDataModule, seed_everything
from ecmvae.training.launch import requeue, stop_signals
from ecmvae.training.module import SegmentationModule

PREVIOUS_NAME = "previous.ckpt"
"""The checkpoint before the last, beside it: for the case that the last one cannot be read."""


class Resumable(Callback):
    """Keeps a checkpoint so that a stopped run, resumed, ends as if it had never stopped; `started` once training has.

    Random generators start afresh from the seed and the epoch at every epoch; the checkpoint holds their states, too,
    for a run stopped inside one. On SIGTERM or Ctrl-C the step under way is finished, the checkpoint saved, and
    `SystemExit` raised with 143 or 130; a second signal ends the process at once. Several processes draw from
    generators of their own, and leave together once one has been told to; the first of a node tells with its exit code.

    Args:
        path: The checkpoint; None in all processes but the first, which writes it. The one before it is kept beside it
            as ``previous.ckpt``.
        seed: The run's seed.
        data: Goes to the right batch when a run is resumed.
    """

    def __init__(self, path: Path | None, seed: int, data: ClipDataModule) -> None:
        self.path, self.seed, self.data = path, seed, data
        self._generators: dict[str, Any] | None = None
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._epoch_ended = False
        self.started = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, and the generators of a stopped run."""
        for number in stop_signals():
            self._previous[number] = signal.signal(number, self._remember)
        if self._generators is not None:
            torch.set_rng_state(self._generators["torch"])
            random.setstate(as_tuple(self._generators["python"]))
            if torch.cuda.is_available() and self._generators["cuda"]:
                torch.cuda.set_rng_state_all(self._generators["cuda"])
        self.started = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the generators of this epoch."""
        self._epoch_ended = False
        seed_everything(self.seed + trainer.global_rank, trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After a signal: save and leave, except at an epoch's end, where validation comes first."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if stepped and not last and self._told_to_stop(trainer):
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save every epoch."""
        self._epoch_ended = True
        if self._told_to_stop(trainer):
            self._leave(trainer)
        self._save(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the generators' states of every process into the checkpoint, and whether the run ends with it."""
        assert isinstance(pl_module, SegmentationModule)
        checkpoint["epoch_ended"] = self._epoch_ended
        checkpoint["stopped_by"] = limits(pl_module.config.train) if trainer.should_stop else None
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        mine = {"torch": torch.get_rng_state(), "python": random.getstate(), "cuda": cuda}
        checkpoint["generators"] = states = [mine] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(states, mine)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the generators' states, and go to the batch after the last one seen."""
        # else they start afresh at the next epoch
        if trainer.world_size == len(checkpoint["generators"]):
            self._generators = checkpoint["generators"][trainer.global_rank]
        self.data.resume_at(checkpoint["global_step"])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )

    def _told_to_stop(self, trainer: Trainer) -> bool:
        """Whether this process was, or any other: all must leave after the same step."""
        return bool(trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False))

    def _leave(self, trainer: Trainer) -> None:
        self._save(trainer)
        if trainer.strategy.reduce_boolean_decision(self._signal == signal.SIGUSR1, all=False):
            if trainer.is_global_zero:
                requeue()
            raise SystemExit(0)
        # Lightning kills the first process of a node when one that it has started ends with another code than 0.
        raise SystemExit(128 + (self._signal or signal.SIGTERM) if trainer.local_rank == 0 else 0)

    def _save(self, trainer: Trainer) -> None:
        # Every process takes part in making the checkpoint; the first one writes it.
        path = self.path if trainer.is_global_zero else None
        keep = None if path is None else path.with_name(PREVIOUS_NAME)
        with nullcontext(Path()) if path is None else replacing(path, keep) as part:
            trainer.save_checkpoint(part)


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint into its file; Lightning's way copies it in memory and through the temporary folder."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write it, or raise `OSError` when the disk is full."""
        try:
            torch.save(checkpoint, path)
        except RuntimeError as error:  # torch's word for it
            require_space(Path(path).parent, tensor_bytes(checkpoint), "a checkpoint")
            raise OSError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error


class BestModel(Callback):
    """Writes the model folder ``best/`` into the run's `folder` whenever validation mIoU rises."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "best"
        self.score = float("-inf")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the model if it is the best so far."""
        scores = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        if not trainer.is_global_zero or not self.better(scores["val/miou"]):
            return
        self.score = scores["val/miou"]
        made_by = {"ecmvae": __version__, "commit": source_commit(), "torch": torch.__version__}
        metadata = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            **scores,
            **made_by,
        }
        assert isinstance(pl_module, SegmentationModule)
        save_model(pl_module.model, self.folder, pl_module.config, metadata)

    def better(self, score: float) -> bool:
        """Whether a score is the best so far."""
        return score > self.score

    def state_dict(self) -> dict[str, Any]:
        """The best score, for a resumed run."""
        return {"score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score of the stopped run."""
        self.score = float(state_dict["score"])


class Patience(EarlyStopping):
    """Lightning's `EarlyStopping` on val/miou, whose patience is that of the run and not of the checkpoint.

    A run that ran out of patience can be resumed with more of it.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over how long the stopped run has waited."""
        super().load_state_dict({**state_dict, "patience": self.patience})


def limits(options: TrainConfig) -> dict[str, int | float | None]:
    """What may end a run before its last epoch."""
    return {"patience": options.patience, "max_minutes": options.max_minutes}


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    parts = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, (list, tuple))
        else ()
    )
    return sum(map(tensor_bytes, parts))


def as_tuple(state: Any) -> Any:
    """Python's generator wants its state in tuples, which a checkpoint may bring back as lists."""
    return tuple(as_tuple(part) for part in state) if isinstance(state, (list, tuple)) else state
