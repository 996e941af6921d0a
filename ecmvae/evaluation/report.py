"""What an evaluation found: one object that shows itself, and writes itself as JSON, CSV (a row per clip), Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ecmvae.evaluation.report_files import csv_text, decimal, json_text, markdown_table, write_texts
from ecmvae.evaluation.scoring import AnswerScores, CategoryScores, ClipScores, UncertaintyScores


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of one model on one split, with everything needed to know what they mean.

    Attributes:
        about: What was scored and how: data, checkpoint, its hash and config, settings, code version.
        scores: By what the model heard: "real", and where asked "silent" and "shuffled".
        uncertainty: How far the probabilities under the real sound can be trusted.
        floors: Answers without hearing, by name; "visual_only" is a model where one was given.
        categories: Clips and per-clip scores of each category, heard for real.
        clips: One entry a clip, by what the model heard.
        heard_instead: For each clip, whose sound it was given as "shuffled".
    """

    about: Mapping[str, Any]
    scores: Mapping[str, AnswerScores]
    uncertainty: UncertaintyScores
    floors: Mapping[str, AnswerScores] = field(default_factory=dict)
    categories: Mapping[str, CategoryScores] = field(default_factory=dict)
    clips: Mapping[str, Sequence[ClipScores]] = field(default_factory=dict)
    heard_instead: Sequence[str] = ()

    @property
    def miou(self) -> float:
        """Our headline: mIoU by the per-clip protocol, heard for real."""
        return self.scores["real"].per_clip.miou

    @property
    def fscore(self) -> float:
        """F-measure by the per-clip protocol, heard for real."""
        return self.scores["real"].per_clip.fscore

    @property
    def audio_gain(self) -> dict[str, float]:
        """How much mIoU (per clip) the right sound is worth, against silence and against another clip's sound."""
        return {name: self.miou - scores.per_clip.miou for name, scores in self.scores.items() if name != "real"}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows of single clips, as plain dictionaries."""
        return {
            "about": dict(self.about),
            "miou": self.miou,
            "fscore": self.fscore,
            "audio_gain": self.audio_gain,
            "uncertainty": asdict(self.uncertainty),
            "scores": {name: _plain(scores) for name, scores in self.scores.items()},
            "floors": {name: _plain(scores) for name, scores in self.floors.items()},
            "categories": {name: asdict(row) for name, row in self.categories.items()},
        }

    def to_markdown(self) -> str:
        """A short text for people."""
        about = self.about
        title = " ".join(str(about[key]) for key in ("task", "split") if key in about)
        lines = [f"# {title or 'Scores'}: {about['clips']} clips, {about['frames']} frames", ""]
        lines += [f"- {key}: {value}" for key, value in about.items() if not isinstance(value, Mapping)]
        lines += ["", "Fractions. Protocols: see docs/evaluate.md; `per clip` is the headline.", ""]
        protocols = ("per clip mIoU", "F", f"avsbench (batch {about['batch_clips']}) mIoU", "F", "data set IoU", "F")
        answers = {f"{name} sound": scores for name, scores in self.scores.items()}
        answers |= {f"floor: {name.replace('_', ' ')}": scores for name, scores in self.floors.items()}
        lines += markdown_table(
            ("answer", *protocols, "two-class mIoU", "non-empty mIoU", "right of two"),
            [(name, *map(decimal, _numbers(scores))) for name, scores in answers.items()],
        )
        told = {key: value for key, value in asdict(self.uncertainty).items() if value is not None}
        lines += ["", *(f"- {key.replace('_', ' ')}: {value:.4f}" for key, value in told.items())]
        if self.categories:
            rows = [(name, row.clips, decimal(row.miou), decimal(row.fscore)) for name, row in self.categories.items()]
            lines += ["", *markdown_table(("category", "clips", "per clip mIoU", "F"), rows)]
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> Path:
        """Write report.json, report.md and clips.csv, each whole or not at all.

        Returns:
            The folder.
        """
        files = {
            "clips.csv": self._clips_csv(),
            "report.md": self.to_markdown(),
            "report.json": json_text(self.to_dict()),
        }
        return write_texts(folder, files)

    def show(self, console: Console) -> None:
        """Print the scores."""
        about = self.about
        size, batch = about["batch_clips"], f"b{about['batch_clips']}"
        count = "1 clip" if about["clips"] == 1 else f"{about['clips']} clips"
        table = Table(
            title=f"{about['task']} {about['split']}, {count} (fractions)",
            caption=f"clip: per clip, the headline; {batch}: AVSBench's protocol, {size} clips a batch; "
            "set: whole data set",
        )
        table.add_column("answer", no_wrap=True)
        for heading in ("clip mIoU", "F", f"{batch} mIoU", "F", "set IoU", "F", "right of two"):
            table.add_column(heading, justify="right")
        for name, scores in {**self.scores, **self.floors}.items():
            numbers = [*scores.per_clip, *scores.avsbench, *scores.dataset[:2], scores.right_of_two]
            table.add_row(name.replace("_", " "), *(decimal(number, 3) for number in numbers))
        console.print(table)

    def _clips_csv(self) -> str:
        others = [name for name in self.clips if name != "real"]
        header = [*(each.name for each in fields(ClipScores)), *(f"miou_{name}" for name in others), "heard_instead"]
        whose = self.heard_instead or [""] * len(self.clips["real"])
        rows = [
            (*astuple(clip), *(self.clips[name][k].miou for name in others), whose[k])
            for k, clip in enumerate(self.clips["real"])
        ]
        return csv_text(header, rows)


def _plain(scores: AnswerScores) -> dict[str, Any]:
    return {name: value._asdict() if hasattr(value, "_asdict") else value for name, value in vars(scores).items()}


def _numbers(scores: AnswerScores) -> tuple[float | None, ...]:
    return (*scores.per_clip, *scores.avsbench, *scores.dataset, scores.miou_nonempty, scores.right_of_two)
