"""Progress on the terminal, by rich: one bar with the time left, and of a run a line for every finished epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ecmvae.training.schedule import Schedule


def make_bar(*extra: ProgressColumn, shown: bool = True) -> Progress:
    """A bar on standard error with the time gone and the time left, shown by the first of several processes only."""
    first = getattr(rank_zero_only, "rank", 0) == 0
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        *extra,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True, quiet=not (shown and first)),
        refresh_per_second=2,
    )


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over `total` items; yields the function that advances it."""
    with make_bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)


class RunProgress(ProgressBar):
    """One bar for the whole run, driven by the schedule: the time left holds for runs by steps and by the clock."""

    def __init__(self, schedule: Schedule, epochs: int) -> None:
        super().__init__()
        self.schedule, self.epochs = schedule, epochs
        self._progress: Progress | None = None
        self._task: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        self._progress = make_bar()
        self._progress.start()
        self._task = self._progress.add_task("training", total=1.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._progress is not None:
            text = f"epoch {trainer.current_epoch + 1}/{self.epochs}  {_loss(pl_module)}"
            self._progress.update(
                self._task, completed=self.schedule.progress(trainer.global_step), description=text
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that the pause in the bar is a validation."""
        if self._progress is not None:
            self._progress.update(self._task, description="validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a line with the scores on the screen."""
        if self._progress is None:
            return
        metrics = trainer.callback_metrics
        scores = "  ".join(
            f"{name.removeprefix('val/')} {float(value):.3f}"
            for name, value in sorted(metrics.items())
            if name.startswith("val/")
        )
        line = f"epoch {trainer.current_epoch + 1}/{self.epochs}  {_loss(pl_module)}  {scores}"
        self._progress.console.print(line, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.update(
                self._task, completed=1.0, description=f"trained {trainer.global_step} steps"
            )
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away before the error is printed."""
        self._stop()

    def disable(self) -> None:
        """Lightning's way to silence all processes but the first: nothing is ever shown then."""
        self.on_train_start = lambda *_: None  # type: ignore[method-assign]

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _loss(module: LightningModule) -> str:
    logged = getattr(module, "logged", {})
    return f"loss {logged['total']:.3f}" if "total" in logged else ""
