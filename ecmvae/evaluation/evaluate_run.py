"""From paths to reports: what `ecmvae evaluate` does around the evaluator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.avss import RELEASED_SIZE, AVSSDataset, holds_avss
from ecmvae.data.images import read_mask
from ecmvae.data.layout import FRAMES, TASKS, read_clips, tasks_in
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate, evaluate_predictions
from ecmvae.evaluation.report import Report
from ecmvae.evaluation.robustness import RobustnessReport, RobustnessSettings, robustness
from ecmvae.evaluation.tasks import ClassTask, MaskTask
from ecmvae.hub.find import find_model_folder, weights_sha256
from ecmvae.models.checkpoint import load_model
from ecmvae.provenance import __version__, source_commit

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """One call of `ecmvae evaluate`; see `ecmvae.evaluation.command.evaluate` for the fields.

    Raises:
        UserError: When what is to be scored is missing or named twice.
    """

    checkpoint: str | None
    data: str
    split: str
    task: str
    predictions: str | None
    save_predictions: str | None
    visual_only: str | None
    metrics: list[str] | None
    robustness: RobustnessSettings | None
    limit: int | None
    trust_code: bool
    device: str
    out: str
    settings: EvaluateSettings

    def __post_init__(self) -> None:
        if self.robustness is not None and self.checkpoint is None:
            raise UserError("robustness needs a model that can listen: give --checkpoint, not --predictions")
        if self.robustness is not None and "avss" in self._tasks():
            raise UserError("robustness is defined for masks of s4 and ms3, not for the classes of avss: leave it out")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit={self.limit} must be at least 1")
        if self.predictions is not None and not Path(self.predictions).is_dir():
            raise UserError(f"{self.predictions}: no such folder of predictions")

    def run(self) -> dict[str, Report]:
        """Score every task; print and write a report of each."""
        tasks = self._tasks()
        if not tasks:
            wanted = " nor ".join([*(f"{task.folder}/{task.table}" for task in TASKS.values()), "metadata.csv"])
            raise UserError(f"{self.data}: holds neither {wanted}; see docs/data.md for the expected folders")
        score = self._predictions if self.checkpoint is None else self._model()
        found = {task: score(task) for task in tasks}
        parent, console = _fresh(Path(self.out)), Console()
        for task, (report, robust) in found.items():
            folder = report.write(parent / f"{task}_{self.split}")
            report.show(console)
            classes = ", classes.csv" if report.kind == "classes" else ""
            console.print(f"written: {folder}/report.json, report.md, clips.csv{classes}", soft_wrap=True)
            if robust is not None:
                robust.write(folder)
                robust.show(console)
                console.print(f"written: {folder}/robustness.json, robustness.csv", soft_wrap=True)
        return {task: report for task, (report, _) in found.items()}

    def _tasks(self) -> list[str]:
        """What to score."""
        if self.task != "auto":
            return [self.task]
        return [*tasks_in(self.data), *(["avss"] if holds_avss(self.data) else [])]

    def _model(self) -> Callable[[str], tuple[Report, RobustnessReport | None]]:
        """How to score a task with the model; it is loaded once."""
        assert self.checkpoint is not None
        device = choose_device(self.device)
        folder = find_model_folder(self.checkpoint)
        load = partial(load_model, device=device, trust_code=self.trust_code)
        model = load(folder)
        assert model.config is not None
        visual_only = None if self.visual_only is None else load(self.visual_only)
        knobs = model.config.data
        about = {
            "checkpoint": str(folder),
            "sha256": weights_sha256(folder),
            "config": model.config.to_dict(),
        }

        def score(task: str) -> tuple[Report, RobustnessReport | None]:
            # A model of ten-second clips meets shorter ones in S4 and MS3.
            frames = knobs.num_frames if task == "avss" else min(knobs.num_frames, FRAMES)
            clips = self._clips(task, knobs.image_size, num_frames=frames, hop_seconds=knobs.hop_seconds)
            summary = {**self._about(task, knobs.image_size), **about, "num_frames": frames}
            report = evaluate(
                model,
                clips,
                self._settings(len(clips), summary),
                metrics=self.metrics,
                task=_task_of(clips),
                visual_only=visual_only,
                save_to=self.save_predictions,
                about=summary,
            )
            if self.robustness is None or isinstance(clips, AVSSDataset):
                return report, None
            return report, robustness(model, clips, self.robustness)

        return score

    def _predictions(self, task: str) -> tuple[Report, None]:
        """Score the folder: masks at the size of the ground truth, classes at the size of the released evaluation."""
        assert self.predictions is not None
        size = RELEASED_SIZE
        if task != "avss":
            size = read_mask(read_clips(self.data, task, self.split)[0].mask(1)).shape[0]
        clips, about = self._clips(task, size), self._about(task, size)
        report = evaluate_predictions(
            self.predictions, clips, self.settings, metrics=self.metrics, task=_task_of(clips), about=about
        )
        return report, None

    def _clips(self, task: str, size: int, **knobs: Any) -> AVSBenchDataset | AVSSDataset:
        clips: AVSBenchDataset | AVSSDataset
        if task == "avss":  # as the release evaluates on every split: squashed, not cropped
            clips = AVSSDataset(self.data, self.split, image_size=size, geometry="squash", **knobs)
        else:
            clips = AVSBenchDataset(self.data, task, self.split, image_size=size, **knobs)  # type: ignore[arg-type]
        clips.clips = clips.clips[: self.limit]  # type: ignore[assignment]  # of the same kind
        return clips

    def _settings(self, clips: int, summary: dict[str, Any]) -> EvaluateSettings:
        """How to score so many clips; what a single one cannot give is left out, and `summary` says so."""
        if clips > 1 or "shuffled" not in self.settings.sounds:
            return self.settings
        summary["left_out"] = "shuffled sound: with a single clip there is no other whose sound it could be given"
        logger.warning("left out: %s", summary["left_out"])
        return replace(self.settings, sounds=tuple(sound for sound in self.settings.sounds if sound != "shuffled"))

    def _about(self, task: str, size: int) -> dict[str, Any]:
        return {
            "task": task,
            "split": self.split,
            "data": self.data,
            "image_size": size,
            "ecmvae": __version__,
            "commit": source_commit(),
        }


def _task_of(clips: AVSBenchDataset | AVSSDataset) -> MaskTask | ClassTask:
    """Classes on AVSS, whatever the model can tell: one without classes is refused there."""
    return ClassTask(clips.class_names) if isinstance(clips, AVSSDataset) else MaskTask()


def _fresh(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
