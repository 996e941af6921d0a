"""One small training loop for every model of `ecmvae.vae`, on Lightning Fabric.

The whole data set lives in tensors and a batch is an index into them: a DataLoader over single samples costs more than
the small models themselves. Logging reads a number from the device only every `log_every` steps.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.logger import Logger
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor, nn

from ecmvae.errors import UserError, check_range
from ecmvae.training.learning_rate import learning_rate_share
from ecmvae.training.progress import make_bar
from ecmvae.training.vae_state import LAST, PREVIOUS, FitState, StopSignals
from ecmvae.vae.multimodal import MultimodalVAE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to train."""

    epochs: int = 20
    """Passes over the training data."""
    batch_size: int = 100
    """Samples a step."""
    learning_rate: float = 1e-3
    """Of Adam; with a schedule, its peak."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the learning rate falls to 0 over the run, step by step (arXiv:1608.03983, without restarts)."""
    seed: int = 0
    """Of the batches' order and of all sampling."""
    patience: int | None = None
    """Stop when the validation loss has not improved for so many epochs."""
    kl_warmup_epochs: int = 0
    """Let the KL's weight grow from 0 to the model's beta over so many epochs, step by step; validation always takes
    beta itself."""
    log_every: int = 50
    """Steps between two points in TensorBoard."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kl_warmup_epochs < 0:
            raise UserError(f"kl_warmup_epochs must be at least 0, got {self.kl_warmup_epochs}")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate must be > 0, got {self.learning_rate}")
        if self.schedule not in ("constant", "cosine"):
            raise UserError(f"schedule is constant or cosine, got {self.schedule}")
        check_range("seed", self.seed, 0, 2**32 - 1)
        if self.device not in ("auto", "cpu", "cuda", "mps"):
            raise UserError(f"device is one of auto, cpu, cuda and mps, got {self.device}")


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run left."""

    history: list[dict[str, float]]
    """Mean training terms of every epoch, with ``validation/...`` where there was such data."""
    best_epoch: int
    """Epoch (from 0) whose weights the model now has: the best by validation loss, else the last."""
    stopped_early: bool
    """Whether patience ran out."""


def fit(
    model: nn.Module,
    train: Mapping[str, Tensor],
    settings: FitSettings,
    *,
    validation: Mapping[str, Tensor] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a model on tensors of n samples each.

    Args:
        model: Called with `train`'s batches as keyword arguments (`MultimodalVAE`: with one mapping). Its answer has a
            scalar `loss` and `named()`, the scalars to log with the loss among them.
        train: Name -> (n, ...). Bytes (uint8) are pictures: a batch of them is divided by 255.
        settings: How.
        validation: The same names, for early stopping and for choosing the best epoch.
        folder: Where ``last.pt`` and ``previous.pt`` (to resume), ``history.json`` and TensorBoard's files go; None
            writes nothing.
        resume: Go on from ``last.pt``, to the same end as if the run had never stopped; if it is damaged, from
            ``previous.pt``. It is written after every epoch, and in the midst of one on Ctrl-C or SIGTERM.
        progress: Show a bar on standard error.

    Returns:
        The history. The model holds the best weights, in eval mode, on the CPU.

    Raises:
        UserError: When patience is set without validation data, a warm-up without a KL, or there is nothing to resume.
        FloatingPointError: When the loss is no longer finite.
    """
    if settings.patience is not None and validation is None:
        raise UserError("patience needs validation data: hold some out, or leave patience out")
    if settings.kl_warmup_epochs and not hasattr(model, "beta"):
        raise UserError(
            f"kl_warmup_epochs has no effect on {type(model).__name__}, which has no KL: leave it out"
        )
    checkpoints = (
        [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()] if folder else []
    )
    if resume and not checkpoints:
        raise UserError(f"nothing to resume: {folder or 'no folder given'} has no {LAST}")
    loggers: list[Logger] = (
        [TensorBoardLogger(folder, name="", version="tensorboard")] if folder else []
    )
    fabric = Fabric(accelerator=settings.device, devices=1, loggers=loggers)
    torch.manual_seed(settings.seed)
    order = torch.Generator().manual_seed(settings.seed)
    objective, optimizer = fabric.setup(
        _Objective(model), torch.optim.Adam(model.parameters(), settings.learning_rate)
    )
    train = {name: fabric.to_device(x) for name, x in train.items()}
    validation = validation and {name: fabric.to_device(x) for name, x in validation.items()}
    state = FitState(model, optimizer, order)
    if resume:
        state.load_newest(checkpoints)
        if state.epoch >= settings.epochs or state.out_of_patience(settings.patience):
            logger.warning(
                "the run has finished, after %d epochs: nothing is left to train", state.epoch
            )
    step = _Stepper(fabric, objective, optimizer, settings, len(next(iter(train.values()))))
    if state.step > step.per_epoch:
        raise UserError(
            "the run was stopped within an epoch: resume it with the same data and batch_size"
        )
    warm_up = _WarmUp(model, settings.kl_warmup_epochs * step.per_epoch)
    done = state.epoch * step.per_epoch + state.step
    with make_bar(shown=progress) as bar, StopSignals(wanted=folder is not None) as stop:
        task = bar.add_task("training", total=settings.epochs * step.per_epoch, completed=done)
        while state.epoch < settings.epochs and not state.out_of_patience(settings.patience):
            try:
                step.epoch(
                    train,
                    state,
                    warm_up,
                    stop,
                    lambda text: bar.update(task, advance=1, description=text),
                )
            finally:
                warm_up.restore()
            if state.step == step.per_epoch:
                terms = step.means(state)
                if validation is not None:
                    found = evaluate(objective, validation, settings.batch_size)
                    terms |= {f"validation/{name}": value for name, value in found.items()}
                fabric.log_dict(
                    {f"epoch/{name}": value for name, value in terms.items()}, step=state.epoch
                )
                state.finish_epoch(terms)
            if folder is not None:
                state.save(folder)
            if stop.asked is not None:
                stop.leave()
    for each in loggers:
        each.finalize("success")
    model.load_state_dict(state.best_weights)
    model.cpu().eval()
    early = state.epoch < settings.epochs
    return FitResult(history=state.history, best_epoch=state.best_epoch, stopped_early=early)


def as_float(x: Tensor) -> Tensor:
    """Pictures in [0, 1]: bytes are divided by 255; anything else stays as it is."""
    return x.float().div(255) if x.dtype == torch.uint8 else x


class _Objective(nn.Module):
    """A model that answers with plain tensors: Fabric walks through outputs and stops at frozen dataclasses."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and every scalar to log."""
        output = self.model(batch) if isinstance(self.model, MultimodalVAE) else self.model(**batch)
        with torch.no_grad():
            terms = {name: value.detach() for name, value in output.named().items()}
        return output.loss, terms


@torch.no_grad()
def evaluate(objective: nn.Module, data: Mapping[str, Tensor], batch_size: int) -> dict[str, float]:
    """Mean terms over data, in eval mode, with a random state of its own so that training goes on undisturbed."""
    objective.eval()
    totals: dict[str, float] = {}
    count = len(next(iter(data.values())))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for start in range(0, count, batch_size):
            batch = {name: as_float(x[start : start + batch_size]) for name, x in data.items()}
            share = min(batch_size, count - start) / count
            for name, value in objective(batch)[1].items():
                totals[name] = totals.get(name, 0.0) + share * value.item()
    return totals


class _Stepper:
    """One epoch of optimiser steps."""

    def __init__(
        self,
        fabric: Fabric,
        objective: nn.Module,
        optimizer: Any,
        settings: FitSettings,
        count: int,
    ) -> None:
        self.fabric, self.objective, self.optimizer, self.settings = (
            fabric,
            objective,
            optimizer,
            settings,
        )
        self.starts = list(range(0, count, settings.batch_size))
        if len(self.starts) > 1 and count - self.starts[-1] == 1:
            self.starts.pop()  # batch norm cannot learn from a last batch of one sample
        self.per_epoch = len(self.starts)

    def epoch(
        self,
        data: Mapping[str, Tensor],
        state: FitState,
        warm_up: _WarmUp,
        stop: StopSignals,
        advance: Callable[[str], None],
    ) -> None:
        """Train on every sample once, from the step on that the state has reached, or until a signal comes."""
        self.objective.train()
        first = next(iter(data.values()))
        shuffled = state.shuffled(len(first)).to(first.device)
        label = f"epoch {state.epoch + 1}/{self.settings.epochs}"
        for number in range(state.step, self.per_epoch):
            total = state.epoch * self.per_epoch + number
            warm_up.set(total)
            self._set_learning_rate(total)
            index = shuffled[self.starts[number] : self.starts[number] + self.settings.batch_size]
            loss, terms = self.objective({name: as_float(x[index]) for name, x in data.items()})
            self.fabric.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            state.finish_step(terms)
            if number % self.settings.log_every == 0:
                self._log(terms, total)
            advance(label)
            if stop.asked is not None:
                break

    def _set_learning_rate(self, step: int) -> None:
        share = learning_rate_share(
            self.settings.schedule, step / (self.settings.epochs * self.per_epoch)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * share

    def means(self, state: FitState) -> dict[str, float]:
        """Mean terms of the epoch."""
        means = {name: float(value) / self.per_epoch for name, value in state.sums.items()}
        self._check(means["loss"], state.epoch)
        return means

    def _log(self, terms: dict[str, Tensor], step: int) -> None:
        values = {name: float(value) for name, value in terms.items()}
        self._check(values["loss"], step // self.per_epoch)
        self.fabric.log_dict({f"train/{name}": value for name, value in values.items()}, step=step)

    def _check(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} in epoch {epoch + 1}: lower learning_rate ({self.settings.learning_rate}) or look "
                "for wild values in the data"
            )


class _WarmUp:
    """Lets the KL's weight grow linearly from 0 to the model's beta over the first steps.

    Bowman et al., "Generating sentences from a continuous space", 2016 (arXiv:1511.06349).
    """

    def __init__(self, model: Any, steps: int) -> None:
        self.model, self.steps = model, steps
        self.beta: float | None = getattr(model, "beta", None)

    def set(self, step: int) -> None:
        """The weight of a step, counted from 0 over the whole run: its share of `steps`, and beta from there on."""
        if self.steps and self.beta is not None:
            self.model.beta = self.beta * min(1.0, step / self.steps)

    def restore(self) -> None:
        """Give the model its own beta back."""
        if self.steps:
            self.model.beta = self.beta
