"""Averages of the weights over the steps of a run, by Lightning's callback; the average is what is validated and kept.

Exponential moving average: Polyak & Juditsky 1992, as in Tarvainen & Valpola, arXiv 1703.01780. Stochastic weight
averaging: Izmailov et al., arXiv 1803.05407; the statistics of batch normalisation are averaged, not computed again.
"""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_avg_fn

from ecmvae.config import TrainConfig
from ecmvae.training.schedule import Schedule


class AveragedWeights(WeightAveraging):
    """Keeps ``train.averaging`` of the weights in the model from the start of a validation until its very end.

    It stands after the callbacks that save the model when a validation ends. Until ``train.swa_start`` there is no
    average, and the weights themselves are validated.
    """

    def __init__(self, options: TrainConfig, schedule: Schedule) -> None:
        ema = options.averaging == "ema"
        average = get_ema_avg_fn(options.ema_decay) if ema else None  # type: ignore[no-untyped-call]
        super().__init__(avg_fn=average)
        self._schedule, self._start = schedule, 0.0 if ema else options.swa_start

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether a step belongs to the average: every one after the start."""
        return step_idx is not None and self._schedule.progress(step_idx + 1) >= self._start

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the model, once there is one."""
        if self._begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave it there: the model is saved later, once its scores are known."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the model its own weights back."""
        if self._begun:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the model."""
        if self._begun:
            super().on_train_end(trainer, pl_module)

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and bool(self._average_model.n_averaged > 0)
