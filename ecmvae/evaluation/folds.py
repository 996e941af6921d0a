"""Cross-validation on AVS-Collage: each model is scored on what its own fold held out, and all folds are pooled.

A single held-out split tests a dozen pictures many times over. Models of n folds together are scored on almost every
picture and recording, each by the model that never met it, and the intervals are by picture (`ecmvae.metrics`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.folds import never_held_out
from ecmvae.data.collage.photographs import PhotographPairs
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.switches import SwitchedClips
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError, check_range
from ecmvae.evaluation.evaluator import EvaluateSettings, clip_batches
from ecmvae.evaluation.inference import device_of, eval_mode, latent_draws
from ecmvae.evaluation.intervals import interval_table
from ecmvae.evaluation.latency import LatencyScores, SwitchAnswer, latency_scores, switch_sounds
from ecmvae.evaluation.photographs import PairAnswer, PhotographScores, pair_scores, show_pairs
from ecmvae.evaluation.report_files import decimal, json_text, plain, write_texts
from ecmvae.evaluation.robustness import EMPTY_ANSWER, RobustnessSettings, robustness
from ecmvae.evaluation.tasks import MaskTask
from ecmvae.hub.find import find_model_folder
from ecmvae.metrics.by_picture import Interval, PictureScores, cluster_bootstrap
from ecmvae.metrics.calibration import UncertaintyScores
from ecmvae.metrics.metric_set import MetricSet
from ecmvae.models.base import Segmenter

ROWS = {
    "known": "test_seen",
    "new recordings": "test_unseen_sound",
    "new pictures": "test_unseen_image",
    "both new": "test_unseen",
}
"""Rows of the report, and the split of AVS-Collage that each is composed as."""

_SOUNDS = {"swapped": "an absent class", "noise_alone": "noise alone"}
"""Names of wrong sounds in print, where they differ."""


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """How to score the models of several folds.

    Attributes:
        clips: Clips of each row that every model is scored on.
        photographs: Pairs of photographs that every model is shown; 0 = none.
        wrong_sounds: How many of the clips of known material are also given sounds of nothing in the picture; 0 = none.
        switches: How many of the clips of known material are also shown standing still, with a sound that begins and
            ends; 0 = none.
        kind: s4 (one object sounds), ms3 (a changing subset) or both.
        batch_size: Clips that a model sees at once.
        seed: Seed of the clips and of the latents.
        workers: Processes that compose clips.
        progress: Whether to show a progress bar.

    Raises:
        UserError: When a setting is out of range.
    """

    clips: int = 200
    photographs: int = 0
    wrong_sounds: int = 50
    switches: int = 20
    kind: Literal["s4", "ms3", "both"] = "s4"
    batch_size: int = 4
    seed: int = 0
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        check_range("clips", self.clips, 1, 1_000_000)
        check_range("photographs", self.photographs, 0, 1_000_000)
        check_range("wrong_sounds", self.wrong_sounds, 0, 1_000_000)
        check_range("switches", self.switches, 0, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class FoldsReport:
    """Scores of all folds.

    Attributes:
        about: What was scored and how.
        rows: Pooled scores by row: known or new pictures and recordings.
        folds: The same of each model, by its name.
        photographs: Scores on pairs of photographs, pooled; None where none were shown.
        uncertainty: How far the probabilities can be trusted, pooled, by row.
        false_masks: Share of clips with a false mask, pooled, by the sound that is none of the picture's.
        latency: How soon masks follow a sound that begins or ends, pooled; None where none were played.
    """

    about: Mapping[str, Any]
    rows: Mapping[str, PictureScores]
    folds: Mapping[str, Mapping[str, PictureScores]]
    photographs: PhotographScores | None = None
    uncertainty: Mapping[str, UncertaintyScores] = field(default_factory=dict)
    false_masks: Mapping[str, Interval] = field(default_factory=dict)
    latency: LatencyScores | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries."""
        names = ("rows", "folds", "photographs", "uncertainty", "false_masks", "latency")
        return {"about": dict(self.about), **{name: plain(getattr(self, name)) for name in names}}

    def write(self, folder: str | Path) -> Path:
        """Write report.json; returns the folder."""
        return write_texts(folder, {"report.json": json_text(self.to_dict())})

    def show(self, console: Console) -> None:
        """Print the pooled scores, and above them those of each fold where there are several."""
        if len(self.folds) > 1:
            for name, rows in self.folds.items():
                console.print(interval_table(rows, title=name))
        about = self.about
        console.print(
            interval_table(
                self.rows, title=f"{len(self.folds)} model(s), {about['clips']} clips a row each"
            )
        )
        console.print(_uncertainty_table(self.uncertainty))
        for sound, share in self.false_masks.items():
            console.print(f"clips with a false mask under {_SOUNDS.get(sound, sound)}: {share}")
        if (found := self.photographs) is not None:
            console.print(
                f"{found.pairs} pairs of {found.photographs} photographs: right of two {found.right_of_two}"
            )
        if (heard := self.latency) is not None:
            console.print(
                f"{heard.clips} still clips whose sound begins and ends: marked {heard.marked}, "
                f"seconds from the sound's beginning to the mask's {heard.on or '-'}, "
                f"from its end to the mask's {heard.off or '-'}",
                soft_wrap=True,
            )
        never = about["never_held_out"]
        console.print(
            f"never held out: {never['image']} pictures, {never['sound']} recordings (single ones of a class, phrases)"
        )


def models_in(path: str | Path) -> dict[str, Path]:
    """Model folders by name: of a single checkpoint, or of all runs in a folder.

    Args:
        path: A folder of run folders, or what `find_model_folder` takes.

    Raises:
        UserError: If no model is found.
    """
    folder = Path(path)
    runs = (
        []
        if not folder.is_dir()
        else [run for run in sorted(folder.iterdir()) if (run / "best").is_dir()]
    )
    return {run.name: find_model_folder(run) for run in runs} or {
        folder.name: find_model_folder(path)
    }


def check_models(models: Mapping[str, Segmenter]) -> None:
    """Check that the models are of different folds of the same number of folds.

    Raises:
        UserError: Otherwise, or if one was not trained on AVS-Collage.
    """
    folds: dict[tuple[int, int], str] = {}
    for name, model in models.items():
        data = None if model.config is None else model.config.data
        if data is None or data.name != "collage":
            raise UserError(
                f"{name} was not trained on AVS-Collage (data.name=collage): nothing is held out from it"
            )
        if other := folds.get((data.fold, data.folds)):
            raise UserError(
                f"{name} and {other} hold out the same fold ({data.fold} of {data.folds}): score one of them"
            )
        folds[data.fold, data.folds] = name
    if len({count for _, count in folds}) > 1:
        listed = ", ".join(f"{name} {fold} of {count}" for (fold, count), name in folds.items())
        raise UserError(
            f"the models are not of one cross-validation (data.fold of data.folds: {listed})"
        )


def evaluate_folds(
    models: Mapping[str, Segmenter],
    sources: CollageSources,
    settings: FoldSettings | None = None,
    *,
    about: Mapping[str, Any] | None = None,
) -> FoldsReport:
    """Score each model on clips of what its fold held out, and on known material; pool the folds.

    Args:
        models: Models by name, each trained on AVS-Collage with its own ``data.fold``; also a single one.
        sources: Of any fold.
        settings: How to score; None = the defaults.
        about: What else the report should say.

    Raises:
        UserError: If the models do not belong together, or a fold holds out too few classes to compose clips.
    """
    settings = settings or FoldSettings()
    check_models(models)
    pooled: dict[str, MetricSet] = defaultdict(_metrics)
    folds: dict[str, dict[str, PictureScores]] = {}
    shown: list[PairAnswer] = []
    heard: list[tuple[str, str, bool]] = []
    switched: list[SwitchAnswer] = []
    for name, model in models.items():
        folds[name] = {}
        for row, split in ROWS.items():
            own = _metrics()
            _score(model, _clips(model, sources, split, settings), settings, [own, pooled[row]])
            folds[name][row] = own.compute()["by_picture"]
        if settings.wrong_sounds:
            heard += _false_masks(model, sources, settings)
        if settings.switches:
            known = replace(settings, clips=min(settings.clips, settings.switches), kind="s4")
            clips = SwitchedClips(_clips(model, sources, ROWS["known"], known), settings.seed)
            switched += switch_sounds(model, clips, settings.batch_size, settings.progress)
        if settings.photographs:
            shown += show_pairs(
                model, _pairs(model, sources, settings), settings.batch_size, settings.progress
            )
    trained = [model.config.data for model in models.values() if model.config is not None]
    summary = {
        **(about or {}),
        **{
            key: value
            for key, value in asdict(settings).items()
            if key not in ("progress", "workers")
        },
        "folds": trained[0].folds,
        "scored_folds": [data.fold for data in trained],
        "never_held_out": never_held_out(sources.items),
    }
    found = {row: metrics.compute() for row, metrics in pooled.items()}
    return FoldsReport(
        about=summary,
        rows={row: values["by_picture"] for row, values in found.items()},
        folds=folds,
        photographs=pair_scores(shown) if shown else None,
        false_masks=_shares(heard),
        latency=latency_scores(switched) if switched else None,
        uncertainty={row: values["uncertainty"] for row, values in found.items()},
    )


def _metrics() -> MetricSet:
    return MetricSet(["by_picture", "uncertainty"])


def _uncertainty_table(scores: Mapping[str, UncertaintyScores]) -> Table:
    table = Table(
        caption="risk: 1 - IoU of a frame; AUROC of the marked region's entropy",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for heading in (
        "uncertainty",
        "ECE",
        "ECE in objects",
        "risk-coverage area",
        "wrong object AUROC",
    ):
        table.add_column(heading, justify="left" if heading == "uncertainty" else "right")
    for row, each in scores.items():
        cells = each.calibration_error, each.calibration_error_in_objects, each.risk_coverage_area
        table.add_row(row, *(decimal(cell, 3) for cell in (*cells, each.wrong_object_auroc)))
    return table


def _false_masks(
    model: Segmenter, sources: CollageSources, settings: FoldSettings
) -> Iterator[tuple[str, str, bool]]:
    """Sound, picture and whether there is a false mask, of clips of known material under sounds of nothing in them."""
    clips = _clips(
        model,
        sources,
        ROWS["known"],
        replace(settings, clips=min(settings.clips, settings.wrong_sounds)),
    )
    how = RobustnessSettings(
        seed=settings.seed, progress=settings.progress, conditions=EMPTY_ANSWER
    )
    pictures = {clips.name(index): clips.heard(index).image for index in range(len(clips))}
    for line in robustness(model, clips, how).manifest:
        if line.false_mask is not None:
            yield line.condition, pictures[line.clip], line.false_mask


def _shares(heard: Sequence[tuple[str, str, bool]]) -> dict[str, Interval]:
    """Share of clips with a false mask by sound, with an interval by picture."""
    found = {}
    for sound in (name for name in EMPTY_ANSWER if any(name == each for each, _, _ in heard)):
        pictures, marked = zip(
            *((picture, mask) for each, picture, mask in heard if each == sound), strict=True
        )
        share = cluster_bootstrap(
            np.array(marked, dtype=np.float64), np.ones(len(marked)), pictures
        )
        assert share is not None
        found[sound] = share
    return found


def _clips(
    model: Segmenter, sources: CollageSources, split: str, settings: FoldSettings
) -> CollageClips:
    """Clips of one row, of the fold and at the size that a model was trained with."""
    assert model.config is not None
    data = model.config.data
    return CollageClips(
        sources.fold(data.fold, data.folds),
        kind=settings.kind,
        split=split,
        length=settings.clips,
        size=data.image_size,
        seed=settings.seed,
        remix=False,
        hop_seconds=data.hop_seconds,
    )


def _pairs(model: Segmenter, sources: CollageSources, settings: FoldSettings) -> PhotographPairs:
    """Pairs of photographs with sounds of the fold that a model was trained with."""
    assert model.config is not None
    data = model.config.data
    return PhotographPairs(
        sources.fold(data.fold, data.folds),
        settings.photographs,
        size=data.image_size,
        seed=settings.seed,
        hop_seconds=data.hop_seconds,
    )


def _score(
    model: Segmenter, clips: CollageClips, settings: FoldSettings, into: Sequence[MetricSet]
) -> None:
    """Add a model's answers to these clips to metrics."""
    how = EvaluateSettings(
        batch_size=settings.batch_size, workers=settings.workers, progress=settings.progress
    )
    task = MaskTask()
    with eval_mode(model):
        for index, batch in clip_batches(clips, how, ClipPreprocessor.of(model)):
            there = batch.to(device_of(model))
            predicted = task.decode(
                latent_draws(model, there, model.encode_audio(there.audio), seed=settings.seed)
            )
            for metrics in into:
                metrics.update(batch, index, **predicted)
