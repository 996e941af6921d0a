"""Sets the learning rate of a run before every step, and ends the run when its time is up."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ecmvae.config import TrainConfig
from ecmvae.training.learning_rate import learning_rate_share
from ecmvae.training.optimizers import LR_MULTIPLIER


class Schedule(Callback):
    """Sets the learning rate before every step and ends the run when its time is up.

    Progress counts steps. With a time budget it is the larger of steps done and time gone, so that the cycle is
    complete at the end on a fast machine and on a slow one. What a run in a time budget computes depends on the
    machine's speed: only a run without `max_minutes` is repeatable to the bit.
    `begun` is `time.monotonic` when the run began: what goes before the first step (caching features) is part of the
    budget.
    """

    def __init__(self, config: TrainConfig, total_steps: int, begun: float | None = None) -> None:
        self.config, self.total_steps = config, total_steps
        self._begun, self._used, self._started = begun, 0.0, 0.0
        self._offset = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._used = 0.0 if self._begun is None else self._started - self._begun

    def progress(self, step: int) -> float:
        """How much of the run is over, in [0, 1]."""
        share = step / self.total_steps
        if self.config.max_minutes is not None:
            budget = max(self.config.max_minutes * 60 - self._used, 1e-9)
            share = max(share, self.elapsed() / budget)
        return min(share, 1.0)

    def agreed(self, trainer: Trainer) -> float:
        """`progress` at this step, the same on all processes though their clocks differ: that of the furthest."""
        share = self.progress(trainer.global_step)
        if self.config.max_minutes is None or trainer.world_size == 1:
            return share
        here = torch.tensor(share, dtype=torch.float64, device=trainer.strategy.root_device)
        return float(trainer.strategy.reduce(here, reduce_op="max"))

    def elapsed(self) -> float:
        """Seconds of training, those before a resumed run's stop included."""
        return self._offset + time.monotonic() - self._started

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set this step's learning rate."""
        if self.config.schedule != "constant" or self.config.warmup > 0:
            share = learning_rate_share(
                self.config.schedule, self.agreed(trainer), self.config.warmup
            )
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = self.config.learning_rate * share * group.get(LR_MULTIPLIER, 1.0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the last epoch, whatever the distance of validations."""
        if trainer.current_epoch + 1 == self.config.epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Validate and stop once the budget is used up."""
        if self.config.max_minutes is not None and self.agreed(trainer) >= 1:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1

    def state_dict(self) -> dict[str, Any]:
        """Time used so far, for a resumed run."""
        return {"elapsed": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the clock of the stopped run."""
        self._offset = float(state_dict["elapsed"])
