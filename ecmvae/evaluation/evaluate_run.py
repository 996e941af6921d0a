"""From paths to reports: what `ecmvae evaluate` does around the evaluator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.avss import RELEASED_SIZE, AVSSDataset, holds_avss
from ecmvae.data.images import read_mask
from ecmvae.data.layout import FRAMES, TASKS, read_clips, tasks_in
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.evaluation.class_predictions import ClassFolder
from ecmvae.evaluation.evaluate import EvaluateSettings, evaluate, evaluate_predictions
from ecmvae.evaluation.predictions import PredictionFolder
from ecmvae.evaluation.report import Report
from ecmvae.evaluation.robustness import RobustnessReport, RobustnessSettings, robustness
from ecmvae.evaluation.semantic import evaluate_class_predictions, evaluate_semantic
from ecmvae.evaluation.semantic_report import SemanticReport
from ecmvae.hub.find import find_model_folder, weights_sha256
from ecmvae.models.checkpoint import load_model
from ecmvae.provenance import __version__, source_commit

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """One call of `ecmvae evaluate`; see `ecmvae.evaluation.evaluate.evaluate_command` for the fields.

    Raises:
        UserError: When what is to be scored is missing or named twice.
    """

    checkpoint: str | None
    data: str | None
    split: str
    task: str
    predictions: str | None
    save_predictions: str | None
    visual_only: str | None
    robustness: RobustnessSettings | None
    limit: int | None
    device: str
    out: str
    settings: EvaluateSettings

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.predictions is None):
            raise UserError("say what to score: either --checkpoint FOLDER or --predictions FOLDER")
        if self.data is None:
            raise UserError(
                "say on which data: --data FOLDER, the one that holds Single-source or Multi-sources, or metadata.csv"
            )
        if self.robustness is not None and self.checkpoint is None:
            raise UserError("robustness needs a model that can listen: give --checkpoint, not --predictions")
        if self.robustness is not None and "avss" in self._tasks():
            raise UserError("robustness is defined for masks of s4 and ms3, not for the classes of avss: leave it out")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit={self.limit} must be at least 1")
        if self.predictions is not None and not Path(self.predictions).is_dir():
            raise UserError(f"{self.predictions}: no such folder of predictions")

    def run(self) -> dict[str, Report | SemanticReport]:
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
            classes = ", classes.csv" if isinstance(report, SemanticReport) else ""
            console.print(f"written: {folder}/report.json, report.md, clips.csv{classes}", soft_wrap=True)
            if robust is not None:
                robust.write(folder)
                robust.show(console)
                console.print(f"written: {folder}/robustness.json, robustness.csv", soft_wrap=True)
        return {task: report for task, (report, _) in found.items()}

    def _tasks(self) -> list[str]:
        """What to score."""
        assert self.data is not None
        if self.task != "auto":
            return [self.task]
        return [*tasks_in(self.data), *(["avss"] if holds_avss(self.data) else [])]

    def _model(self) -> Callable[[str], tuple[Report | SemanticReport, RobustnessReport | None]]:
        """How to score a task with the model; it is loaded once."""
        assert self.checkpoint is not None
        device = choose_device(self.device)
        folder = find_model_folder(self.checkpoint)
        model = load_model(folder, device)
        assert model.config is not None
        rival = None if self.visual_only is None else load_model(self.visual_only, device)
        knobs = model.config.data
        target = self.save_predictions
        about = {
            "checkpoint": str(folder),
            "sha256": weights_sha256(folder),
            "config": model.config.to_dict(),
        }

        def score(task: str) -> tuple[Report | SemanticReport, RobustnessReport | None]:
            told = {**self._about(task, knobs.image_size), **about}
            if task == "avss":
                labelled = self._labelled(knobs.image_size, num_frames=knobs.num_frames, hop_seconds=knobs.hop_seconds)
                into = None if target is None else ClassFolder(target)
                told["num_frames"] = knobs.num_frames
                settings = self._settings(len(labelled), told)
                return evaluate_semantic(model, labelled, settings, visual_only=rival, save_to=into, about=told), None
            frames = min(knobs.num_frames, FRAMES)  # a model of ten-second clips meets shorter ones here
            clips = self._clips(task, knobs.image_size, num_frames=frames, hop_seconds=knobs.hop_seconds)
            save_to = None if target is None else PredictionFolder(target)
            settings = self._settings(len(clips), told)
            report = evaluate(model, clips, settings, visual_only=rival, save_to=save_to, about=told)
            return report, robustness(model, clips, self.robustness) if self.robustness is not None else None

        return score

    def _predictions(self, task: str) -> tuple[Report | SemanticReport, None]:
        """Score the folder: masks at the size of the ground truth, classes at the size of the released evaluation."""
        assert self.predictions is not None
        assert self.data is not None
        if task == "avss":
            labelled, told = self._labelled(RELEASED_SIZE), self._about(task, RELEASED_SIZE)
            return evaluate_class_predictions(ClassFolder(self.predictions), labelled, self.settings, about=told), None
        size = read_mask(read_clips(self.data, task, self.split)[0].mask(1)).shape[0]
        clips = self._clips(task, size)
        folder = PredictionFolder(self.predictions)
        return evaluate_predictions(folder, clips, clips.clips, self.settings, about=self._about(task, size)), None

    def _clips(self, task: str, size: int, **knobs: Any) -> AVSBenchDataset:
        assert self.data is not None
        clips = AVSBenchDataset(self.data, task, self.split, image_size=size, **knobs)  # type: ignore[arg-type]
        clips.clips = clips.clips[: self.limit]
        return clips

    def _labelled(self, size: int, **knobs: Any) -> AVSSDataset:
        assert self.data is not None
        # As the release evaluates on every split: squashed, not cropped.
        clips = AVSSDataset(self.data, self.split, image_size=size, geometry="squash", **knobs)
        clips.clips = clips.clips[: self.limit]
        return clips

    def _settings(self, clips: int, told: dict[str, Any]) -> EvaluateSettings:
        """How to score so many clips; what a single one cannot give is left out, and `told` says so."""
        if clips > 1 or "shuffled" not in self.settings.sounds:
            return self.settings
        told["left_out"] = "shuffled sound: with a single clip there is no other whose sound it could be given"
        logger.warning("left out: %s", told["left_out"])
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


def _fresh(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
