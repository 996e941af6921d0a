"""From paths to reports: what `ecmvae evaluate` does around the evaluator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from ecmvae.config import DataConfig
from ecmvae.console import output_console
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.avss import RELEASED_SIZE, AVSSDataset
from ecmvae.data.clips import ClipSource, SoundedClips
from ecmvae.data.images import read_mask
from ecmvae.data.layout import FRAMES, TASKS, read_clips
from ecmvae.data.loading import load_clips
from ecmvae.data.packed import PackedIndex, holds_packed
from ecmvae.data.sets.clips import RecordedClips
from ecmvae.data.sets.records import RECORDS, records_in
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate, evaluate_predictions
from ecmvae.evaluation.inference import device_of
from ecmvae.evaluation.report import Report
from ecmvae.evaluation.report_files import new_report_folder
from ecmvae.evaluation.robustness import RobustnessReport, RobustnessSettings, robustness
from ecmvae.evaluation.tasks import ClassTask, Task, choose_task
from ecmvae.foreign_text import cut
from ecmvae.hub.concepts import ConceptsName
from ecmvae.hub.find import find_model_folder, weights_sha256
from ecmvae.models.base import Segmenter
from ecmvae.models.checkpoint import load_model
from ecmvae.models.concept_classes import ConceptClasses
from ecmvae.models.concepts import Concepts
from ecmvae.provenance import __version__, source_commit

logger = logging.getLogger(__name__)


def tasks_in(data: str | None, task: str = "auto") -> list[str]:
    """What there is to score: the task that is named, or with "auto" every data set in the folder.

    Raises:
        UserError: If the folder holds none that is known.
    """
    if task != "auto" or data is None:
        return [task]
    found = [PackedIndex.read(data).source] if holds_packed(data) else records_in(data)
    if not found:
        wanted = ", ".join(
            dict.fromkeys(record.tables[0] for record in RECORDS.values() if record.tables)
        )
        raise UserError(
            f"{data}: holds none of {wanted}; see docs/data.md for the expected folders, or write an example with "
            "ecmvae data miniature"
        )
    return found


def data_to_score(trained_on: DataConfig, task: str, root: str | None) -> DataConfig:
    """How a model reads a data set to be scored on: as it read the one it was trained on.

    Args:
        trained_on: Of the model's configuration.
        task: Name of the data set.
        root: Where it lies; None = where the training found it, if it is the same.
    """
    # A model of ten-second clips meets shorter ones in S4 and MS3.
    frames = min(trained_on.num_frames, FRAMES) if task in TASKS else trained_on.num_frames
    found = trained_on.root if root is None and task == trained_on.name else root
    return replace(trained_on, name=task, root=found, num_frames=frames)


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """One call of `ecmvae evaluate`; see `ecmvae.evaluation.command.evaluate` for the fields.

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
    metrics: list[str] | None
    robustness: RobustnessSettings | None
    limit: int | None
    classes: str | None
    trust_code: bool
    device: str
    out: str
    settings: EvaluateSettings

    def __post_init__(self) -> None:
        if self.robustness is not None and self.checkpoint is None:
            raise UserError(
                "robustness needs a model that can listen: give --checkpoint, not --predictions"
            )
        if self.robustness is not None and "avss" in tasks_in(self.data, self.task):
            raise UserError(
                "robustness is defined for masks of s4 and ms3, not for the classes of avss: leave it out"
            )
        if self.predictions is not None and self.task not in ("auto", "avss", *TASKS):
            raise UserError(
                f"predictions are files beside those of s4, ms3 or avss, not of {self.task}"
            )
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit={self.limit} must be at least 1")
        if self.predictions is not None and not Path(self.predictions).is_dir():
            raise UserError(f"{self.predictions}: no such folder of predictions")

    def run(self) -> dict[str, Report]:
        """Score every task; print and write a report of each."""
        tasks = tasks_in(self.data, self.task)
        score = self._predictions if self.checkpoint is None else self._model()
        found = {task: score(task) for task in tasks}
        parent, console = new_report_folder(self.out), output_console()
        for task, (report, robust) in found.items():
            folder = report.write(parent / f"{task.replace(':', '.')}_{self.split}")
            report.show(console)
            classes = ", classes.csv" if report.kind == "classes" else ""
            console.print(
                f"written: {folder}/report.json, report.md, clips.csv{classes}", soft_wrap=True
            )
            if robust is not None:
                robust.write(folder)
                robust.show(console)
                console.print(f"written: {folder}/robustness.json, robustness.csv", soft_wrap=True)
        return {task: report for task, (report, _) in found.items()}

    def _model(self) -> Callable[[str], tuple[Report, RobustnessReport | None]]:
        """How to score a task with the model; it is loaded once."""
        assert self.checkpoint is not None
        device = choose_device(self.device)
        concepts = ConceptsName.parse(str(self.checkpoint))
        folder = str(concepts) if concepts else str(find_model_folder(self.checkpoint))
        load = partial(load_model, device=device, trust_code=self.trust_code)
        model = load(folder)
        assert model.config is not None
        visual_only = None if self.visual_only is None else load(self.visual_only)
        config = model.config
        sha256 = concepts.sha256() if concepts else weights_sha256(folder)
        about = {"checkpoint": folder, "sha256": sha256, "config": config.to_dict()}

        def score(task: str) -> tuple[Report, RobustnessReport | None]:
            data = data_to_score(config.data, task, self.data)
            clips = load_clips(data, self.split, seed=config.train.seed)
            # concepts learn the classes of the clips
            able = None if isinstance(model, Concepts) else model
            kind = (
                ClassTask(clips.class_names)
                if isinstance(clips, AVSSDataset)
                else choose_task(clips, able)
            )
            scored = self._of_classes(model, kind)
            clips = self._first(clips)
            if self.robustness is not None and not isinstance(clips, SoundedClips):
                raise UserError(
                    f"robustness needs clips that offer their sounds and classes, not those of {task}"
                )
            summary = {**self._about(data), **about, "num_frames": data.num_frames}
            if isinstance(scored, ConceptClasses):
                summary["heard_as"] = {name: list(heard) for name, heard in scored.heard_as.items()}
            report = evaluate(
                scored,
                clips,
                self._settings(len(clips), summary),
                metrics=self.metrics,
                task=kind,
                visual_only=visual_only,
                save_to=self.save_predictions,
                about=summary,
            )
            if self.robustness is None:
                return report, None
            assert isinstance(clips, SoundedClips)
            return report, robustness(model, clips, self.robustness)

        return score

    def _of_classes(self, model: Segmenter, kind: Task) -> Segmenter:
        """The model itself; one without training that is scored on classes listens and looks for these."""
        if not isinstance(model, Concepts) or not isinstance(kind, ClassTask):
            return model
        found = ConceptClasses(
            model, kind.class_names, None if self.classes is None else Path(self.classes)
        )
        if never := [name for name, heard in found.heard_as.items() if not heard]:
            logger.warning(
                "the tagger has no name for %d of %d classes (%s): they are never found; --classes FILE gives names",
                len(never),
                len(kind.class_names) - 1,
                cut(", ".join(never)),
            )
        return found.to(device_of(model))

    def _predictions(self, task: str) -> tuple[Report, None]:
        """Score the folder: masks at the size of the ground truth, classes at the size of the released evaluation."""
        assert self.predictions is not None
        assert self.data is not None
        if task not in ("avss", *TASKS):
            raise UserError(f"predictions are files beside those of s4, ms3 or avss, not of {task}")
        data = DataConfig(name=task, root=self.data, image_size=RELEASED_SIZE, num_frames=10)
        if task != "avss":
            size = read_mask(read_clips(self.data, task, self.split)[0].mask(1)).shape[0]
            data = replace(data, image_size=size, num_frames=FRAMES)
        clips = self._first(load_clips(data, self.split))
        kind = choose_task(clips)
        report = evaluate_predictions(
            self.predictions,
            clips,
            self.settings,
            metrics=self.metrics,
            task=kind,
            about=self._about(data),
        )
        return report, None

    def _first(self, clips: ClipSource) -> ClipSource:
        """The clips to score, as many as are asked for."""
        if isinstance(clips, AVSSDataset):
            clips.crop = False  # as the release evaluates on every split: squashed
        if self.limit is None:
            return clips
        if isinstance(clips, RecordedClips):
            clips.windows = clips.windows[: self.limit]
            return clips
        if isinstance(clips, AVSBenchDataset | AVSSDataset):
            clips.clips = clips.clips[: self.limit]  # type: ignore[assignment]  # of the same kind
            return clips
        return Subset(clips, range(min(self.limit, len(clips))))  # type: ignore[arg-type,return-value]  # it is one

    def _settings(self, clips: int, summary: dict[str, Any]) -> EvaluateSettings:
        """How to score so many clips; what a single one cannot give is left out, and `summary` says so."""
        if clips > 1 or "shuffled" not in self.settings.sounds:
            return self.settings
        summary["left_out"] = (
            "shuffled sound: with a single clip there is no other whose sound it could be given"
        )
        logger.warning("left out: %s", summary["left_out"])
        return replace(
            self.settings,
            sounds=tuple(sound for sound in self.settings.sounds if sound != "shuffled"),
        )

    def _about(self, data: DataConfig) -> dict[str, Any]:
        return {
            "task": data.name,
            "split": self.split,
            "data": data.root or data.name,
            "image_size": data.image_size,
            "ecmvae": __version__,
            "commit": source_commit(),
        }
