"""What an evaluation found: one object that shows itself, and writes itself as JSON, CSV (a row per clip), Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from ecmvae.evaluation.intervals import INTERVAL_COLUMNS, interval_rows, interval_table
from ecmvae.evaluation.latent_use import LATENT_COLUMNS, latent_rows, latent_table
from ecmvae.evaluation.report_files import (
    csv_text,
    decimal,
    json_text,
    markdown_table,
    plain,
    write_texts,
)
from ecmvae.evaluation.rows import CategoryScores, ClassScores
from ecmvae.metrics.by_picture import PictureScores
from ecmvae.metrics.calibration import UncertaintyScores
from ecmvae.metrics.metric_set import numbers

COUNTING = (
    "frames: real frames only; released: padded frames of five-second clips count as background"
)
"""What the two ways of counting are."""


class AnswerScores(dict[str, Any]):
    """Values of the metrics by name, as numbers or named tuples; ``scores.per_clip`` is ``scores["per_clip"]``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"no metric named {name} was computed: there are {', '.join(self)}"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of one model, or of one folder of predictions, on one split, and what they mean.

    Attributes:
        kind: "masks", "boxes" or "classes".
        about: What was scored and how: data, checkpoint, its hash and config, settings, code version.
        headline: Name of the metric whose first number sums up the report: mIoU, or the cIoU of boxes.
        labels: Heading of each metric in tables; metrics without one are left out there.
        scores: By what the model heard: "real", and where asked "silent" and "shuffled".
        floors: Scores of trivial predictions, by name; "visual_only" is a model where one was given.
        clips: One entry a clip, by what the model heard.
        heard_instead: For each clip, whose sound it was given as "shuffled".
        uncertainty: How far the probabilities under the real sound can be trusted; only of masks.
        latent_use: What the latents carry, see `ecmvae.evaluation.latent_use`; None for a model without latents.
        categories: Clips and per-clip scores of each category under the real sound.
        classes: Scores of the classes that occur, under the real sound.
    """

    kind: Literal["masks", "boxes", "classes"]
    about: Mapping[str, Any]
    headline: str
    labels: Mapping[str, str]
    scores: Mapping[str, AnswerScores]
    floors: Mapping[str, AnswerScores] = field(default_factory=dict)
    clips: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    heard_instead: Sequence[str] = ()
    uncertainty: UncertaintyScores | None = None
    latent_use: Mapping[str, Any] | None = None
    categories: Mapping[str, CategoryScores] = field(default_factory=dict)
    classes: Sequence[ClassScores] = ()

    @property
    def miou(self) -> float:
        """The headline's mIoU under the real sound."""
        return float(self.scores["real"][self.headline].miou)

    @property
    def fscore(self) -> float:
        """The headline's F-measure under the real sound."""
        return float(self.scores["real"][self.headline].fscore)

    @property
    def audio_gain(self) -> dict[str, float]:
        """What the right sound is worth in the headline's first number, against silence and another clip's sound."""
        first = {sound: float(scores[self.headline][0]) for sound, scores in self.scores.items()}
        return {sound: first["real"] - value for sound, value in first.items() if sound != "real"}

    @property
    def by_picture(self) -> dict[str, PictureScores]:
        """Scores with intervals by picture, by what the model heard; empty where pictures are unknown."""
        found = {sound: scores.get("by_picture") for sound, scores in self.scores.items()}
        return {name: scores for name, scores in found.items() if scores is not None}

    @property
    def answers(self) -> dict[str, AnswerScores]:
        """Scores of sounds and floors, by the labels of their rows in tables."""
        sounds = {f"{sound} sound": scores for sound, scores in self.scores.items()}
        return sounds | {
            f"floor: {name.replace('_', ' ')}": scores for name, scores in self.floors.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows of single clips, as plain dictionaries; None for what does not exist."""
        content: dict[str, Any] = {
            "about": dict(self.about),
            **dict(list(self.scores["real"][self.headline]._asdict().items())[:2]),
            "audio_gain": self.audio_gain,
            "latent_use": None if self.latent_use is None else dict(self.latent_use),
        }
        if self.kind == "classes":
            content |= {
                "counting": COUNTING,
                "scores": plain(self.answers),
                "classes": plain(self.classes),
            }
        else:
            content |= {
                "uncertainty": plain(self.uncertainty),
                "scores": plain(self.scores),
                "floors": plain(self.floors),
                "categories": plain(self.categories),
            }
        return content

    def to_markdown(self) -> str:
        """A short text for people."""
        about = self.about
        lines = [
            f"# {self._title() or 'Scores'}: {about['clips']} clips, {about['frames']} frames",
            "",
        ]
        lines += [
            f"- {key}: {value}" for key, value in about.items() if not isinstance(value, Mapping)
        ]
        lines += ["", f"Fractions. {self._caption()}.", ""]
        columns = self._columns()
        rows = [
            (name, *map(decimal, _cells(scores, columns))) for name, scores in self.answers.items()
        ]
        lines += markdown_table(("answer", *(heading for _, _, heading in columns)), rows)
        for header, body in self._details():
            if body:
                lines += ["", *markdown_table(header, body)]
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> Path:
        """Write report.json, report.md, clips.csv and, of classes, classes.csv, each whole or not at all.

        Returns:
            The folder.
        """
        files = {"clips.csv": self._clips_csv()}
        if self.kind == "classes":
            files["classes.csv"] = csv_text(ClassScores._fields, self.classes)
        files |= {"report.md": self.to_markdown(), "report.json": json_text(self.to_dict())}
        return write_texts(folder, files)

    def show(self, console: Console) -> None:
        """Print the scores."""
        count = "1 clip" if self.about["clips"] == 1 else f"{self.about['clips']} clips"
        title = f"{self._title()}, {count} (fractions)".lstrip(", ")
        table = Table(title=title, caption=self._caption(), box=box.SIMPLE_HEAD, padding=0)
        columns = self._columns()
        table.add_column("answer", no_wrap=True)
        for _, _, heading in columns:
            table.add_column(heading, justify="right")
        for name, scores in {**self.scores, **self.floors}.items():
            table.add_row(
                name.replace("_", " "), *(decimal(each, 3) for each in _cells(scores, columns))
            )
        console.print(table)
        if self.by_picture:
            console.print(interval_table(self.by_picture))
        if self.latent_use is not None:
            console.print(latent_table(self.latent_use))

    def _title(self) -> str:
        return " ".join(str(self.about[key]) for key in ("task", "split") if key in self.about)

    def _caption(self) -> str:
        if self.kind == "boxes":
            return "maps against boxes: cIoU@0.5 is the headline, see docs/metrics.md"
        return (
            COUNTING
            if self.kind == "classes"
            else "per clip is the headline; protocols: see docs/evaluate.md"
        )

    def _columns(self) -> list[tuple[str, str, str]]:
        """Metric, name of the number, and heading of each column."""
        columns = []
        for metric, label in self.labels.items():
            values = [scores.get(metric) for scores in self.answers.values()]
            value = next((each for each in values if each is not None), None)
            if label and value is not None:
                names, headings = numbers(value, metric), numbers(value, metric, label=label)
                columns += [
                    (metric, name, heading)
                    for (name, _), (heading, _) in zip(names, headings, strict=True)
                ]
        return columns

    def _details(self) -> Iterator[tuple[Sequence[str], list[Sequence[Any]]]]:
        """Header and rows of each further table."""
        yield INTERVAL_COLUMNS, interval_rows(self.by_picture)
        if self.uncertainty is not None:
            rows = self.uncertainty._asdict().items()
            yield (
                ("uncertainty", "value"),
                [
                    (name.replace("_", " "), decimal(value))
                    for name, value in rows
                    if value is not None
                ],
            )
        if self.latent_use is not None:
            yield LATENT_COLUMNS, latent_rows(self.latent_use)
        yield (
            ("category", "clips", "per clip mIoU", "F"),
            [
                (name, clips, *map(decimal, scores))
                for name, (clips, *scores) in self.categories.items()
            ],
        )
        yield (
            ("answer", "subset", "mIoU", "F", "mIoU without background", "F"),
            [
                (name, subset, *map(decimal, numbers_of))
                for name, scores in self.answers.items()
                for subset, numbers_of in scores.get("subsets", {}).items()
            ],
        )
        yield (
            ("class", "name", "frames", "IoU", "F"),
            [(*row[:3], *map(decimal, row[3:])) for row in self.classes],
        )

    def _clips_csv(self) -> str:
        real, others = self.clips["real"], [sound for sound in self.clips if sound != "real"]
        score = "ciou" if self.kind == "boxes" else "miou"
        header = [*real[0]._fields, *(f"{score}_{sound}" for sound in others), "heard_instead"]
        whose = self.heard_instead or [""] * len(real)
        rows = [
            (*clip, *(getattr(self.clips[sound][k], score) for sound in others), whose[k])
            for k, clip in enumerate(real)
        ]
        return csv_text(header, rows)


def _cells(scores: AnswerScores, columns: Sequence[tuple[str, str, str]]) -> list[float | None]:
    """The numbers of one answer, column by column."""
    return [dict(numbers(scores.get(metric), metric)).get(name) for metric, name, _ in columns]
