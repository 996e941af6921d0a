"""What a VAE's run goes on from after it was stopped, and how it stops: after the step under way, with all kept."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path
from ecmvae.training.optimizer_state import FAULTS, check_optimizer

logger = logging.getLogger(__name__)

LAST, PREVIOUS = "last.pt", "previous.pt"
"""What a resumed run goes on from, and the file before it, in case the last one was torn or damaged."""


class StopSignals:
    """Notes Ctrl-C and SIGTERM while its block runs, so that the step under way can be finished; a second one acts.

    Outside the main thread, and where it is not wanted, the signals act as ever.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted and threading.current_thread() is threading.main_thread()
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if self.wanted:
            self._before = {
                each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def leave(self) -> NoReturn:
        """End as the signal would have."""
        if self.asked == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked is not None, number
        if again:
            self.leave()


class FitState:
    """What a run needs to go on bit for bit, after an epoch or within one.

    Attributes:
        epoch: Complete epochs.
        step: Steps of the epoch under way.
        sums: Their terms, summed.
        history: Mean terms of each complete epoch.
    """

    KEPT = ("epoch", "best_epoch", "best_loss", "history", "best_weights")
    WITHIN = ("step", "sums")
    """Missing from the files of older versions, which were written after an epoch only."""

    def __init__(self, model: nn.Module, optimizer: Any, order: torch.Generator) -> None:
        self.model, self.optimizer, self.order = model, optimizer, order
        self.epoch, self.best_epoch, self.best_loss = 0, 0, math.inf
        self.step, self.sums = 0, dict[str, Tensor]()
        self.history: list[dict[str, float]] = []
        self.best_weights = _copy(model.state_dict())
        self._order_at_start = order.get_state()

    def shuffled(self, count: int) -> Tensor:
        """The order of the epoch's samples; an epoch that was stopped gets its own again."""
        if self.step:
            self.order.set_state(self._order_at_start)
        self._order_at_start = self.order.get_state()
        return torch.randperm(count, generator=self.order)

    def finish_step(self, terms: Mapping[str, Tensor]) -> None:
        """Count a step and its terms."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.step += 1

    def finish_epoch(self, terms: dict[str, float]) -> None:
        """Count the epoch, and keep its weights where it is the best (without validation: the last)."""
        self.history.append(terms)
        loss = terms.get("validation/loss")
        if loss is None or loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, math.inf if loss is None else loss
            self.best_weights = _copy(self.model.state_dict())
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether the best epoch lies more than `patience` epochs back."""
        return (
            patience is not None and self.epoch - 1 - self.best_epoch >= patience and self.epoch > 0
        )

    def save(self, folder: Path) -> None:
        """Write last.pt and history.json, each whole or not at all; the last.pt before it becomes previous.pt."""
        with replacing(folder / LAST, folder / PREVIOUS) as part:
            order = self._order_at_start if self.step else self.order.get_state()
            generators = {
                "order": order,
                "random": torch.get_rng_state(),
                "device_random": self._device_state(),
            }
            modules = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            kept = {name: getattr(self, name) for name in (*self.KEPT, *self.WITHIN)}
            torch.save(kept | generators | modules, part)
        with replacing(folder / "history.json") as part:
            part.write_text(json.dumps(self.history, indent=1))

    def load_newest(self, paths: Sequence[Path]) -> None:
        """Read the first of the files that can be read; a warning names those before it.

        Raises:
            UserError: If there is none: what is wrong with the first one.
        """
        faults: list[UserError] = []
        for path in paths:
            try:
                self.load(path)
            except UserError as error:
                faults.append(error)
                continue
            if faults:
                reason = str(faults[0]).rpartition(": ")[0]  # without the remedy
                logger.warning(
                    "%s; going on from %s, after %d epochs", reason, show_path(path), self.epoch
                )
            return
        raise faults[0]

    def load(self, path: Path) -> None:
        """Read what `save` wrote; nothing but tensors and plain values is unpickled.

        Raises:
            UserError: If the file is truncated, damaged or of another model.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about pickles that it will refuse
                saved = torch.load(path, weights_only=True, map_location="cpu")
            self._check(saved)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.order.set_state(saved["order"])
            self._order_at_start = saved["order"]
            torch.set_rng_state(saved["random"])
            device = next(self.model.parameters()).device
            if device.type == "cuda" and saved.get("device_random") is not None:
                torch.cuda.set_rng_state(saved["device_random"], device)
        except FAULTS as error:
            where = show_path(path)
            raise UserError(
                f"{where} is damaged or of another model: train in another folder"
            ) from error
        for name in self.KEPT:
            setattr(self, name, saved[name])
        self.step, self.sums = saved.get("step", 0), saved.get("sums", {})

    def _device_state(self) -> Tensor | None:
        """The random state of a CUDA device, on which the model then draws."""
        device = next(self.model.parameters()).device
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def _check(self, saved: Any) -> None:
        """Raise one of `FAULTS` for what torch does not check itself."""
        epoch, best, history = saved["epoch"], saved["best_epoch"], saved["history"]
        step, sums = saved.get("step", 0), saved.get("sums", {})
        if (
            type(step) is not int
            or step < 0
            or not all(isinstance(each, Tensor) and each.ndim == 0 for each in sums.values())
        ):
            raise ValueError(f"step {step}")
        if (type(epoch), type(best), len(history)) != (int, int, epoch) or not 0 <= best < epoch + (
            step > 0
        ):
            raise ValueError(f"history of {len(history)} epochs, epoch {epoch}, best epoch {best}")
        if not all(
            type(value) is float
            for value in [saved["best_loss"], *(x for row in history for x in row.values())]
        ):
            raise TypeError("a loss that is not a number")
        ours, theirs = (
            {k: v.shape for k, v in x.items()} for x in (self.best_weights, saved["best_weights"])
        )
        if ours != theirs:
            raise ValueError("best weights of another model")
        check_optimizer(saved["optimizer"], self.optimizer)


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}
