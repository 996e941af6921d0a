"""The evaluator: masks or classes, with the right sound and with others, next to floors that listen to nothing.

Three answers of the model are scored side by side: with the clip's own sound, with silence (digital silence through the
model's own front end) and with another clip's sound (a seeded derangement of the data set: no clip receives its own
audio). A model that listens loses much without its sound; one that only looks does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from ecmvae.data.clips import ClipSource
from ecmvae.data.preprocess import ClipPreprocessor, PreparedClips
from ecmvae.errors import UserError
from ecmvae.evaluation.inference import (
    AudioConditions,
    Sound,
    device_of,
    eval_mode,
    latent_draws,
    maps_of,
    silence,
)
from ecmvae.evaluation.report import AnswerScores, Report
from ecmvae.evaluation.rows import Rows
from ecmvae.evaluation.tasks import Prediction, Task, choose_task
from ecmvae.metrics.calibration import UncertaintyScores
from ecmvae.metrics.metric_set import MetricChoice, MetricSet, metric_name
from ecmvae.models.base import Segmenter
from ecmvae.models.latent_use import LatentUse
from ecmvae.types import AVBatch, AVClip
from ecmvae.visual.normalisation import IMAGENET

LATENT_USE_CLIPS = 32
"""Clips over which the use of the latents is measured: each costs some fifteen decodings."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How to score.

    Attributes:
        batch_clips: Clips a batch of AVSBench's protocol (its F-measure depends on it).
        batch_size: Clips that the model sees at once; no score of the latents' means depends on it.
        latents: "mean" takes the latents' means, "sample" draws them.
        samples: Draws K of the latents, whose mean probability is scored.
        sounds: What the model is given; always includes "real".
        seed: Seed of latents, of the shuffling and of the random floor.
        workers: Processes that read clips.
        progress: Whether to show a progress bar.

    Raises:
        UserError: When a setting is out of range or has no effect.
    """

    batch_clips: int = 4
    batch_size: int = 4
    latents: Literal["mean", "sample"] = "mean"
    samples: int = 1
    sounds: tuple[Sound, ...] = ("real", "silent", "shuffled")
    seed: int = 0
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if min(self.batch_clips, self.batch_size, self.samples) < 1:
            raise UserError("batch_clips, batch_size and samples must be at least 1")
        if self.samples > 1 and self.latents == "mean":
            raise UserError(
                f"samples={self.samples} has no effect on the latents' means: set latents to sample"
            )
        if "real" not in self.sounds:
            raise UserError("sounds must include real: the others are compared with it")


def evaluate(
    model: Segmenter,
    clips: ClipSource | DataLoader[AVClip],
    settings: EvaluateSettings | None = None,
    *,
    metrics: Sequence[MetricChoice] | None = None,
    task: Task | None = None,
    visual_only: Segmenter | None = None,
    save_to: str | Path | None = None,
    about: dict[str, Any] | None = None,
) -> Report:
    """Score a model on clips with ground truth.

    Args:
        model: The model, configured or not; scored in eval mode, on the device it is on.
        clips: Clips with masks or labels: a data set (`AVSBenchDataset`, `SyntheticAVS`, a list of `AVClip`, ...), or a
            DataLoader of one, of which only the data set is used.
        settings: How to score; None = the defaults.
        metrics: Names, import paths, classes or objects (see `ecmvae.metrics`); None = all of the task's. The task's
            headline is always among them.
        task: `MaskTask` or `ClassTask`; None = classes where the clips have labels and the model has classes.
        visual_only: A second model that is given silence only, as a floor.
        save_to: Folder for the predictions under the real sound; needs a data set that is read from files.
        about: What else the report should say about data and model.

    Returns:
        The report.

    Raises:
        UserError: When there are no clips, a clip has no ground truth, there is nothing to shuffle, the model does
            not fit the clips or answers NaN, or a metric is unknown or unusable.
    """
    settings, started = settings or EvaluateSettings(), time.monotonic()
    source: Any = clips.dataset if isinstance(clips, DataLoader) else clips
    task = task or choose_task(source, model)
    for each in (model, visual_only):
        if each is not None:
            task.check(each)
    if visual_only is not None and visual_only.normalisation != model.normalisation:
        raise UserError(
            "the visual_only model normalises frames otherwise than this one: train both on one backbone"
        )
    scoreboard = _Scoreboard(task, settings, metrics)
    writer = None if save_to is None else task.folder(save_to)
    draws = partial(latent_draws, latents=settings.latents, samples=settings.samples)
    use = LatentUse.of(model)
    with eval_mode(model, visual_only):
        conditions = AudioConditions(
            model,
            source,
            shuffled="shuffled" in settings.sounds,
            seed=settings.seed,
            progress=settings.progress,
        )
        for index, batch in clip_batches(source, settings, ClipPreprocessor.of(model)):
            scoreboard.add_floors(batch, index)
            there, seed = batch.to(device_of(model)), settings.seed * 1_000_003 + int(index[0])
            features = maps_of(model, there)
            if use is not None and use.clips < LATENT_USE_CLIPS and there.masks is not None:
                use.update(
                    there.frames, conditions.embeddings("real", index, there), there.masks, features
                )
            for sound in settings.sounds:
                audio = conditions.embeddings(sound, index, there)
                predicted = task.decode(
                    draws(model, there, audio, features=features, seed=seed), batch.valid
                )
                scoreboard.add(sound, predicted, batch, index)
                if sound == "real" and writer is not None:
                    for i, each in zip(index.tolist(), predicted[writer.predicts], strict=True):
                        writer.write(_files(source)[i], each)
            if visual_only is not None:
                audio = there.without_padding(silence(visual_only, *batch.frames.shape[:2]))
                features = maps_of(visual_only, there)
                predicted = task.decode(
                    draws(visual_only, there, audio, features=features, seed=seed), batch.valid
                )
                scoreboard.add("visual_only", predicted, batch, index, floor=True)
    summary = {
        "latents": settings.latents,
        "samples": settings.samples,
        "device": str(device_of(model)),
    }
    seconds = round(time.monotonic() - started, 1)
    latent_use = None if use is None else use.compute()
    return scoreboard.report(
        {**(about or {}), **summary, "seconds": seconds}, conditions.others, latent_use
    )


def evaluate_predictions(
    folder: str | Path,
    clips: ClipSource,
    settings: EvaluateSettings | None = None,
    *,
    metrics: Sequence[MetricChoice] | None = None,
    task: Task | None = None,
    about: dict[str, Any] | None = None,
) -> Report:
    """Score a folder of predictions, anybody's, as `evaluate` scores a model under the real sound.

    Args:
        folder: The PNG files: masks in AVSBench's naming, or coloured classes in that of AVSS.
        clips: The data set that they belong to: masks at the ground truth's own size, classes at 224 pixels.
        settings: How to score; latents and sounds mean nothing here.
        metrics: As for `evaluate`.
        task: As for `evaluate`; None = classes where the clips have labels.
        about: What else the report should say.

    Raises:
        UserError: When a prediction is missing, of another size, or holds what is not a class.
    """
    settings, task = settings or EvaluateSettings(), task or choose_task(clips)
    reader, scoreboard = task.folder(folder), _Scoreboard(task, settings, metrics)
    for index, batch in clip_batches(clips, settings, ClipPreprocessor(None, IMAGENET)):
        frames, size = batch.frames.shape[1], batch.frames.shape[-1]
        predicted = torch.stack(
            [reader.read(_files(clips)[i], frames, size) for i in index.tolist()]
        )
        scoreboard.add_floors(batch, index)
        scoreboard.add("real", {reader.predicts: predicted, "draws": predicted[None]}, batch, index)
    return scoreboard.report({**(about or {}), "predictions": str(reader.folder)})


class _Scoreboard:
    """The metrics of every answer and floor while the clips go by."""

    def __init__(
        self, task: Task, settings: EvaluateSettings, metrics: Sequence[MetricChoice] | None
    ) -> None:
        self._task, self._settings = task, settings
        chosen = list(task.metrics if metrics is None else metrics)
        if task.metrics[0] not in map(metric_name, chosen):
            chosen.insert(0, task.metrics[0])
        self._metrics = chosen
        self._answers: dict[str, MetricSet] = {}
        self._floors: dict[str, MetricSet] = {}

    def add(
        self,
        name: str,
        predicted: Prediction,
        batch: AVBatch,
        index: Int[Tensor, " b"],
        *,
        floor: bool = False,
    ) -> None:
        """Add what was predicted under a sound, or by a model that hears nothing; draws matter under the real one."""
        if floor or name != "real":
            predicted = {key: value for key, value in predicted.items() if key != "draws"}
        self._of(name, floor=floor).update(batch, index, **predicted)

    def add_floors(self, batch: AVBatch, index: Int[Tensor, " b"]) -> None:
        """Add the trivial predictions for a batch."""
        if getattr(batch, self._task.needs) is None:
            raise UserError(
                f"clip {batch.names[0]} has no {self._task.needs}: scores need a split with ground truth"
            )
        for name, predicted in self._task.floors(batch, index, self._settings.seed).items():
            self._of(name, floor=True, graded=False).update(batch, index, **predicted)

    def _of(self, name: str, *, floor: bool, graded: bool = True) -> MetricSet:
        """The metrics of an answer or floor, made where they are missing."""
        table = self._floors if floor else self._answers
        if name not in table:
            options = {
                "batch_clips": self._settings.batch_clips,
                "num_classes": self._task.num_classes,
            }
            table[name] = MetricSet([self._task.rows(), *self._metrics], graded=graded, **options)
        return table[name]

    def report(
        self,
        about: dict[str, Any],
        others: Sequence[int] = (),
        latent_use: dict[str, Any] | None = None,
    ) -> Report:
        """The report of all clips gone by."""
        if not self._answers:
            raise UserError("there are no clips to score")
        answers = {sound: _computed(metrics) for sound, metrics in self._answers.items()}
        _, rows, uncertainty = answers["real"]
        frames = sum(clip.frames for clip in rows.clips)
        summary = {"clips": len(rows.clips), "frames": frames, "seed": self._settings.seed}
        if self._task.kind == "masks":
            summary |= {
                "frames_without_sound": frames - sum(clip.sounding_frames for clip in rows.clips),
                "threshold": 0.5,
                "batch_clips": self._settings.batch_clips,
            }
        return Report(
            kind=self._task.kind,
            about={**about, **summary},
            headline=self._task.metrics[0],
            labels=self._answers["real"].labels,
            scores={sound: scores for sound, (scores, _, _) in answers.items()},
            floors={name: _computed(metrics)[0] for name, metrics in self._floors.items()},
            clips={sound: rows.clips for sound, (_, rows, _) in answers.items()},
            heard_instead=[rows.clips[other].name for other in others],
            uncertainty=uncertainty,
            latent_use=latent_use,
            categories=rows.categories,
            classes=rows.classes,
        )


def _computed(metrics: MetricSet) -> tuple[AnswerScores, Rows, UncertaintyScores | None]:
    """The scores of one answer, the rows of its clips, and its uncertainty."""
    values = metrics.compute()
    rows, uncertainty = values.pop("rows"), values.pop("uncertainty", None)
    return AnswerScores(values, **rows.scores), rows, uncertainty


def clip_batches(
    clips: ClipSource, settings: EvaluateSettings, preprocessor: ClipPreprocessor
) -> Iterator[tuple[Tensor, AVBatch]]:
    """Clips in the order of the data set, with their places."""
    loader: DataLoader[AVClip] = DataLoader(
        PreparedClips(clips, preprocessor),
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        collate_fn=AVBatch.collate,
    )
    start = 0
    console = Console(stderr=True)
    for batch in track(
        loader, "scoring", console=console, disable=not settings.progress, transient=True
    ):
        assert isinstance(batch, AVBatch)
        yield torch.arange(start, start + len(batch.names)), batch
        start += len(batch.names)


def _files(clips: Any) -> Sequence[Any]:
    """Where each clip lies.

    Raises:
        UserError: When the data set does not read files.
    """
    files: Sequence[Any] | None = getattr(clips, "clips", None)
    if files is None:
        raise UserError(
            f"{type(clips).__name__} does not say where its clips' files are: predictions have no names"
        )
    return files
