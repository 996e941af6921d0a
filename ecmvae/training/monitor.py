"""What a run leaves to look at: ``history.jsonl``, ``curves.png``, masks and KL per latent dimension in TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from ecmvae.data.palette import voc_palette
from ecmvae.files import replacing
from ecmvae.foreign_text import LARGE, parse_json, read_text
from ecmvae.training.module import SegmentationModule
from ecmvae.types import AVBatch


class History(Callback):
    """Writes loss terms to TensorBoard, and every number to the run's ``history.jsonl``: {"step", "epoch", ...}."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.jsonl"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what a killed run wrote after its last checkpoint: a resumed run writes it again."""
        if not trainer.is_global_zero:
            return
        rows = [row for row in read_history(self.path) if row["step"] <= trainer.global_step]
        with replacing(self.path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the loss terms at the steps that logged them."""
        assert isinstance(pl_module, SegmentationModule)
        if pl_module.logged_at == trainer.global_step - 1:
            terms = {f"train/{name}": value for name, value in pl_module.logged.items()}
            terms["train/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
            for logger in trainer.loggers:
                logger.log_metrics(terms, step=trainer.global_step)
            self._append(trainer, terms)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores."""
        scores = trainer.callback_metrics
        self._append(
            trainer,
            {name: float(scores[name]) for name in sorted(scores) if name.startswith("val/")},
        )

    def _append(self, trainer: Trainer, values: dict[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({"step": trainer.global_step, "epoch": trainer.current_epoch, **values})
                + "\n"
            )


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of ``history.jsonl``; none when the run has not logged yet.

    A last line without its end was cut off when the run was killed or the disk full, and is left out.
    """
    if not path.exists():
        return []
    lines = read_text(path, LARGE).splitlines(keepends=True)
    return [
        parse_json(line, f"{path}, line {n}")
        for n, line in enumerate(lines, 1)
        if line.endswith("\n")
    ]


def draw_curves(history: Path, out: Path, columns: int = 4) -> None:
    """Draw every number of a ``history.jsonl`` over the steps, each in a panel of its own scale, into a PNG file."""
    from matplotlib.figure import Figure

    rows = read_history(history)
    # scores first
    names = sorted({key for row in rows for key in row} - {"step", "epoch"}, reverse=True)
    lines = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(3 * columns, 2.2 * lines))
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    margin = 0.14 / lines  # by hand: a layout engine takes seconds over this many panels
    figure.subplots_adjust(
        left=0.04, right=0.99, bottom=margin, top=1 - margin, wspace=0.22, hspace=0.45
    )
    for axes, name in zip(panels, names, strict=False):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None)
        axes.set_title(name, fontsize="small")
        axes.tick_params(labelsize="x-small")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    with replacing(out) as part:
        figure.savefig(part, dpi=110)


class Previews(Callback):
    """TensorBoard pictures of `clips` validation clips (frame, truth, prediction) and each latent dimension's KL."""

    def __init__(self, clips: int) -> None:
        self.clips = clips
        self._batches: list[AVBatch] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: AVBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first clips."""
        if sum(len(kept.names) for kept in self._batches) < self.clips:
            self._batches.append(batch)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run them once more, with the posterior, and draw."""
        assert isinstance(pl_module, SegmentationModule)
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not boards or not trainer.is_global_zero:
            self._batches.clear()
            return
        board, step, drawn = boards[0].experiment, trainer.global_step, 0
        for batch in self._batches:
            output = pl_module(batch, learn=True, latents="mean")
            assert batch.masks is not None
            for row in range(min(len(batch.names), self.clips - drawn)):
                labels = None if batch.labels is None else batch.labels[row]
                pictures = pl_module.model.normalisation.pictures(batch.frames[row])
                strip = mask_strip(pictures, batch.masks[row], output.logits[row], labels)
                board.add_image(f"masks/{batch.names[row]}", strip, step)
                drawn += 1
        if self._batches and output.posterior is not None and output.prior is not None:
            for name, kl in output.posterior.kl_by_dimension(output.prior).items():
                for dimension, value in enumerate(kl.tolist()):
                    board.add_scalar(f"kl_{name}/{dimension}", value, step)
                board.add_histogram(f"kl/{name}", kl, step)
        self._batches.clear()


def mask_strip(
    pictures: Float[Tensor, "t 3 h w"],
    masks: Float[Tensor, "t 1 h w"],
    logits: Float[Tensor, "t k h w"],
    labels: Int[Tensor, "t h w"] | None = None,
) -> Float[Tensor, "3 height width"]:
    """A picture of one clip, values in [0, 1]: its pictures in the top row, truth below, the answer last.

    The answer is a probability, or for several classes the likeliest class in its colour, as is the truth then.
    """
    if labels is None or logits.shape[1] == 1:
        rows = [
            pictures,
            masks.expand_as(pictures),
            torch.sigmoid(logits.float()).expand_as(pictures),
        ]
    else:
        colours = torch.from_numpy(voc_palette(logits.shape[1])).to(pictures) / 255
        rows = [
            pictures,
            *(
                rearrange(colours[each], "t h w c -> t c h w")
                for each in (labels, logits.argmax(1))
            ),
        ]
    return torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2).cpu()
