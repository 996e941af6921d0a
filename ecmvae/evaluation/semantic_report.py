"""What an evaluation of classes found: it shows and writes itself as `Report` does, with a row for every class too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ecmvae.evaluation.report_files import csv_text, decimal, json_text, markdown_table, write_texts
from ecmvae.metrics.semantic import SemanticScores

COUNTING = "frames: real frames only; released: padded frames of five-second clips count as background"
"""What the two ways of counting are."""


@dataclass(frozen=True, kw_only=True)
class SemanticAnswer:
    """Scores of one way to answer; every number is a fraction.

    Attributes:
        frames: Of the real frames.
        released: As AVSS' released script counts: with the padded frames.
        subsets: Of the real frames of v1s, v1m and v2.
    """

    frames: SemanticScores
    released: SemanticScores
    subsets: Mapping[str, SemanticScores]


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class over the real frames in which truth or answer holds it."""

    number: int
    name: str
    frames: int
    iou: float
    fscore: float


@dataclass(frozen=True, kw_only=True)
class SemanticClip:
    """Scores of one clip: means over the classes that occur in its real frames."""

    name: str
    subset: str
    frames: int
    miou: float
    fscore: float


@dataclass(frozen=True, kw_only=True)
class SemanticReport:
    """Scores of one model or folder on one split of AVSS, with everything needed to know what they mean.

    Attributes:
        about: What was scored and how.
        scores: By answer: "real sound", where asked "silent sound" and "shuffled sound", and floors.
        classes: The classes that occur, heard for real.
        clips: One entry a clip, by answer.
        heard_instead: For each clip, whose sound it was given as "shuffled".
    """

    about: Mapping[str, Any]
    scores: Mapping[str, SemanticAnswer]
    classes: Sequence[ClassScores]
    clips: Mapping[str, Sequence[SemanticClip]]
    heard_instead: Sequence[str] = field(default_factory=list)

    @property
    def miou(self) -> float:
        """Mean IoU over classes and real frames, heard for real."""
        return self.scores["real sound"].frames.miou

    @property
    def audio_gain(self) -> dict[str, float]:
        """How much mIoU the right sound is worth, against silence and against another clip's sound."""
        return {
            name.removesuffix(" sound"): self.miou - answer.frames.miou
            for name, answer in self.scores.items()
            if name.endswith(" sound") and name != "real sound"
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows of single clips, as plain dictionaries; None for what does not exist."""
        return {
            "about": dict(self.about),
            "miou": self.miou,
            "audio_gain": self.audio_gain,
            "counting": COUNTING,
            "scores": {
                name: {
                    "frames": _plain(answer.frames),
                    "released": _plain(answer.released),
                    "subsets": {subset: _plain(scores) for subset, scores in answer.subsets.items()},
                }
                for name, answer in self.scores.items()
            },
            "classes": [asdict(row) for row in self.classes],
        }

    def to_markdown(self) -> str:
        """A short text for people."""
        about = self.about
        lines = [f"# avss {about.get('split', '')}: {about['clips']} clips, {about['frames']} frames", ""]
        lines += [f"- {key}: {value}" for key, value in about.items() if not isinstance(value, Mapping)]
        lines += ["", f"Fractions, means over the classes that occur. {COUNTING}.", ""]
        lines += markdown_table(
            ("answer", "counted", "mIoU", "F", "mIoU without background", "F"),
            [
                (name, counted, *map(decimal, scores))
                for name, answer in self.scores.items()
                for counted, scores in _rows(answer).items()
            ],
        )
        rows = [(c.number, c.name, c.frames, decimal(c.iou), decimal(c.fscore)) for c in self.classes]
        lines += ["", *markdown_table(("class", "name", "frames", "IoU", "F"), rows)]
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> Path:
        """Write report.json, report.md, clips.csv and classes.csv, each whole or not at all.

        Returns:
            The folder.
        """
        classes = csv_text([each.name for each in fields(ClassScores)], [astuple(row) for row in self.classes])
        files = {
            "clips.csv": self._clips_csv(),
            "classes.csv": classes,
            "report.md": self.to_markdown(),
            "report.json": json_text(self.to_dict()),
        }
        return write_texts(folder, files)

    def show(self, console: Console) -> None:
        """Print the scores."""
        about = self.about
        table = Table(title=f"avss {about.get('split', '')}, {about['clips']} clips (fractions)", caption=COUNTING)
        table.add_column("answer", no_wrap=True)
        table.add_column("counted", no_wrap=True)
        for heading in ("mIoU", "F", "mIoU no bg", "F no bg"):
            table.add_column(heading, justify="right")
        for name, answer in self.scores.items():
            rows = _rows(answer) if name == "real sound" else {"frames": answer.frames, "released": answer.released}
            for counted, scores in rows.items():
                table.add_row(name, counted, *(decimal(each, 3) for each in scores))
        console.print(table)

    def _clips_csv(self) -> str:
        others = [name for name in self.clips if name != "real sound"]
        header = [*(each.name for each in fields(SemanticClip)), *(f"miou {name}" for name in others), "heard_instead"]
        whose = self.heard_instead or [""] * len(self.clips["real sound"])
        rows = [
            (*astuple(clip), *(self.clips[name][k].miou for name in others), whose[k])
            for k, clip in enumerate(self.clips["real sound"])
        ]
        return csv_text(header, rows)


def _rows(answer: SemanticAnswer) -> dict[str, SemanticScores]:
    return {"frames": answer.frames, "released": answer.released, **answer.subsets}


def _plain(scores: SemanticScores) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in scores._asdict().items()}  # NaN is no JSON
