"""What an evaluation found: one object that writes itself as JSON, CSV (a row per clip) and Markdown."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecmvae.data.files import replacing
from ecmvae.inference.scoring import AnswerScores, CategoryScores, ClipScores, UncertaintyScores


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
        batch = about["batch_clips"]
        lines += [
            f"| answer | per clip mIoU | F | avsbench (batch {batch}) mIoU | F | data set IoU | F | two-class mIoU "
            "| non-empty mIoU | right of two |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        answers = [(f"{name} sound", scores) for name, scores in self.scores.items()]
        answers += [(f"floor: {name.replace('_', ' ')}", scores) for name, scores in self.floors.items()]
        lines += [_row(name, scores) for name, scores in answers]
        told = {key: value for key, value in asdict(self.uncertainty).items() if value is not None}
        lines += ["", *(f"- {key.replace('_', ' ')}: {value:.4f}" for key, value in told.items())]
        if self.categories:
            lines += ["", "| category | clips | per clip mIoU | F |", "|---|---|---|---|"]
            lines += [
                f"| {name} | {row.clips} | {row.miou:.4f} | {row.fscore:.4f} |" for name, row in self.categories.items()
            ]
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> Path:
        """Write report.json, report.md and clips.csv, each whole or not at all.

        Returns:
            The folder.
        """
        folder = Path(folder)
        with replacing(folder / "clips.csv") as path:
            self._write_clips(path)
        with replacing(folder / "report.md") as path:
            path.write_text(self.to_markdown(), encoding="utf-8")
        with replacing(folder / "report.json") as path:
            path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        return folder

    def _write_clips(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            others = [name for name in self.clips if name != "real"]
            columns = ["name", "category", "frames", "sounding_frames", "miou", "fscore"]
            writer = csv.writer(file)
            writer.writerow([*columns, *(f"miou_{name}" for name in others), "heard_instead"])
            for k, clip in enumerate(self.clips["real"]):
                row = [asdict(clip)[column] for column in columns]
                row += [self.clips[name][k].miou for name in others]
                writer.writerow([*row, self.heard_instead[k] if self.heard_instead else ""])


def _plain(scores: AnswerScores) -> dict[str, Any]:
    return {name: value._asdict() if hasattr(value, "_asdict") else value for name, value in vars(scores).items()}


def _row(name: str, scores: AnswerScores) -> str:
    numbers = (
        *scores.per_clip,
        *scores.avsbench,
        *scores.dataset,
        scores.miou_nonempty,
        scores.right_of_two,
    )
    return f"| {name} | " + " | ".join("-" if number is None else f"{number:.4f}" for number in numbers) + " |"
