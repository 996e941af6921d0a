"""The table of a study: a row a variant; its seeds' mean, an interval, and the difference to the first row."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from ecmvae.errors import UserError
from ecmvae.evaluation.report_files import csv_text, json_text, markdown_table, write_texts
from ecmvae.study.intervals import Interval, over_seeds, over_seeds_and_clips
from ecmvae.study.runs import FINISHED, Clip, Run

_SHOWN = (
    "*per_clip.miou",
    "*per_clip.fscore",
    "*avsbench.miou",
    "*avsbench.fscore",
    "*dataset.miou",
    "*dataset.fscore",
)
_SHOWN_CLASSES = ("*frames.miou", "*frames.fscore", "*released.miou", "*released.fscore")
_SHOWN_VALIDATION = ("val/miou", "val/fscore")
_FEW_SEEDS = 5
"""Below, a bootstrap over seeds is too narrow, and the table says so."""
_LONGEST_LABEL = 4
"""Settings that a label names; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One score of one variant.

    Attributes:
        mean: Over seeds, and clips where their scores are known, with its interval; None without a finished run.
        deviation: Sample standard deviation over the seeds; None with fewer than two.
        by_seed: The score of each seed.
        clips: Number of clips that the interval is drawn over; 0 where their scores are unknown.
        difference: To the same seeds of the first variant, paired by seed and clip; None in that row itself.
        difference_by_seed: The difference of each seed.
    """

    mean: Interval | None
    deviation: float | None
    by_seed: Mapping[int, float]
    clips: int
    difference: Interval | None = None
    difference_by_seed: Mapping[int, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Mean ± sample standard deviation; the mean alone of a single seed, and - of none."""
        if self.mean is None:
            return "-"
        return f"{self.mean.value:.4f}" + (
            "" if self.deviation is None else f" ± {self.deviation:.4f}"
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant.

    Attributes:
        label: What its configuration has otherwise than the first one's.
        runs: One a seed.
        estimates: By name of the score.
    """

    label: str
    runs: Sequence[Run]
    estimates: Mapping[str, Estimate]

    @property
    def finished(self) -> list[Run]:
        """Runs that count."""
        return [run for run in self.runs if run.state == FINISHED]


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """All variants.

    Attributes:
        rows: The first one is what the others are compared with.
        columns: Scores that are shown.
        headlines: Those of them that have intervals and differences in the text.
    """

    rows: Sequence[Row]
    columns: Sequence[str]
    headlines: Sequence[str]

    @classmethod
    def of(
        cls, runs: Sequence[Run], base: Path | None = None, shown: Sequence[str] = ()
    ) -> StudyTable:
        """Put runs that differ in nothing but their seed into one row.

        Args:
            runs: Of `ecmvae.study.runs.collect`.
            base: Folder of a run of the row that the others are compared with; None = the first row.
            shown: Patterns of the scores to show; none = the three protocols' mIoU and F, or else validation's.

        Raises:
            UserError: When `base` is none of the runs, or no score fits the patterns.
        """
        rows = groups(runs)
        if base is not None:
            first = [row for row in rows if base.resolve() in [run.folder.resolve() for run in row]]
            if not first:
                raise UserError(f"{base} is none of these runs: name a run folder for --base")
            rows.sort(key=lambda row: row is not first[0])
        columns = _columns(runs, shown)
        by_clip = {name for run in runs for name in run.clips}
        headlines = [name for name in columns if name in by_clip] or columns[:1]
        names = dict.fromkeys(name for run in runs for name in run.scores)
        return cls(
            rows=[
                Row(
                    label=label(row[0], rows[0][0]),
                    runs=row,
                    estimates={
                        name: _estimate(name, row, None if row is rows[0] else rows[0])
                        for name in names
                    },
                )
                for row in rows
            ],
            columns=columns,
            headlines=headlines,
        )

    @property
    def scored_on(self) -> str:
        """The data that every column was scored on, as "s4 test, 10 clips"; empty where they differ."""
        data = {name.rpartition(": ")[0] for name in self.columns}
        return data.pop() if len(data) == 1 else ""

    def short_name(self, name: str) -> str:
        """The name of a score, without the data where these are the same for every column."""
        return name.removeprefix(f"{self.scored_on}: ")

    def to_markdown(self) -> str:
        """Two tables: the scores, and the headlines' intervals and differences; what did not finish is listed."""
        header = ("variant", "seeds", *map(self.short_name, self.columns))
        rows = [
            (row.label, len(row.finished), *(row.estimates.get(name, "-") for name in self.columns))
            for row in self.rows
        ]
        scored = f"Scored on {self.scored_on}. " if self.scored_on else ""
        lines = [
            *markdown_table(header, rows),
            "",
            f"{scored}Fractions: mean ± sample standard deviation over the seeds.",
        ]
        for name in self.headlines:
            lines += ["", *markdown_table(self._header(name), map(self._cells(name), self.rows))]
        if self.headlines:
            lines += ["", self._caption()]
        runs = [run for row in self.rows for run in row.runs]
        unfinished = [run for run in runs if run.state != FINISHED]
        if unfinished:
            lines += ["", f"Not finished, in no mean: {len(unfinished)} of {len(runs)} runs.", ""]
            lines += [f"- {run.folder.name} (seed {run.seed}): {run.state}" for run in unfinished]
        unscored = [
            run.folder.name
            for run in runs
            if run.state == FINISHED and not set(self.columns) <= run.scores.keys()
        ]
        if unscored:
            lines += ["", f"Finished, but without some of these scores: {', '.join(unscored)}."]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """A row a run, with every score there is."""
        runs = [(row, run) for row in self.rows for run in row.runs]
        names = sorted({name for _, run in runs for name in run.scores})
        rows = [
            [
                run.folder,
                row.label,
                run.seed,
                run.state,
                *(run.scores.get(name, "") for name in names),
            ]
            for row, run in runs
        ]
        return csv_text(["folder", "variant", "seed", "state", *names], rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain dictionaries: every score's mean, interval, deviation and difference."""
        return {
            "compared_with": self.rows[0].label,
            "headlines": list(self.headlines),
            "variants": [
                {
                    "label": row.label,
                    "name": row.runs[0].variant,
                    "changes": changes(row.runs[0], self.rows[0].runs[0]),
                    "runs": [
                        {"folder": str(run.folder), "seed": run.seed, "state": run.state}
                        for run in row.runs
                    ],
                    "scores": {name: _plain(each) for name, each in row.estimates.items()},
                }
                for row in self.rows
            ],
        }

    def write(self, stem: Path) -> list[Path]:
        """Write ``stem.md``, ``stem.csv``, ``stem.json`` and, where there are scores, ``stem.png``.

        Returns:
            The files.
        """
        texts = {"md": self.to_markdown(), "csv": self.to_csv(), "json": json_text(self.to_dict())}
        write_texts(stem.parent, {f"{stem.name}.{ending}": text for ending, text in texts.items()})
        files = [stem.with_name(f"{stem.name}.{ending}") for ending in texts]
        if self.headlines:
            from ecmvae.study.picture import draw

            files.append(draw(self, stem.with_name(f"{stem.name}.png")))
        return files

    def _header(self, name: str) -> tuple[str, ...]:
        return (
            "variant",
            f"{self.short_name(name)}, 95 % interval",
            f"difference to {self.rows[0].label}",
            "seeds",
            "clips",
        )

    def _cells(self, name: str) -> Callable[[Row], tuple[object, ...]]:
        def cells(row: Row) -> tuple[object, ...]:
            each = row.estimates[name]
            paired = row is not self.rows[0]
            shown = (each.difference or "-") if paired else ""
            return (
                row.label,
                each.mean or "-",
                shown,
                len(each.difference_by_seed if paired else each.by_seed),
                each.clips,
            )

        return cells

    def _caption(self) -> str:
        drawn = any(each.estimates[name].clips for each in self.rows for name in self.headlines)
        how = (
            "a bootstrap over seeds and clips (those of one picture together)"
            if drawn
            else "Student's t over the seeds"
        )
        text = (
            f"Differences are paired by seed{' and clip' if drawn else ''}. Intervals: 95 %, {how}."
        )
        seeds = max(len(row.finished) for row in self.rows)
        if drawn and seeds == 1:
            return f"{text} With one seed they cover the clips alone."
        if drawn and seeds < _FEW_SEEDS:
            return f"{text} With {seeds} seeds they are too narrow: run {_FEW_SEEDS} or more."
        return text


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ by their seed alone, together; in the order in which they come."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps(run.knobs, sort_keys=True) if run.knobs else f"{run.variant or run.folder}"
        found.setdefault(key, []).append(run)
    return list(found.values())


def changes(run: Run, base: Run) -> dict[str, Any]:
    """The settings that a run has otherwise than the base; of those that it lacks, None."""
    return {
        name: run.knobs.get(name)
        for name in {**run.knobs, **base.knobs}
        if run.knobs and run.knobs.get(name) != base.knobs.get(name)
    }


def label(run: Run, base: Run) -> str:
    """What the run has otherwise than the base, in a few words."""
    if not run.knobs:
        return run.variant or run.folder.name
    different = [f"{name}={value}" for name, value in changes(run, base).items()]
    if not different:
        return "base"
    if len(different) <= _LONGEST_LABEL:
        return ", ".join(different)
    rest = f"{', '.join(different[: _LONGEST_LABEL - 1])} and {len(different) - _LONGEST_LABEL + 1} more"
    return f"{run.variant}: {rest}" if run.variant else rest


def _estimate(name: str, row: Sequence[Run], base: Sequence[Run] | None) -> Estimate:
    ours = {run.seed: run for run in row if run.state == FINISHED and name in run.scores}
    by_seed = {seed: run.scores[name] for seed, run in ours.items()}
    if not ours:
        return Estimate(mean=None, deviation=None, by_seed={}, clips=0)
    clips = [run.clips.get(name, {}) for run in ours.values()]
    mean, count = _interval(list(by_seed.values()), clips, None)
    found = Estimate(
        mean=mean,
        deviation=statistics.stdev(by_seed.values()) if len(by_seed) > 1 else None,
        by_seed=by_seed,
        clips=count,
    )
    if base is None:
        return found
    theirs = {
        run.seed: run
        for run in base
        if run.state == FINISHED and name in run.scores and run.seed in ours
    }
    if not theirs:
        return found
    pairs = {seed: by_seed[seed] - run.scores[name] for seed, run in theirs.items()}
    paired = [ours[seed].clips.get(name, {}) for seed in theirs]
    difference, _ = _interval(
        list(pairs.values()), paired, [run.clips.get(name, {}) for run in theirs.values()]
    )
    return Estimate(
        mean=mean,
        deviation=found.deviation,
        by_seed=by_seed,
        clips=count,
        difference=difference,
        difference_by_seed=pairs,
    )


def _interval(
    scores: Sequence[float],
    clips: Sequence[Mapping[str, Clip]],
    less: Sequence[Mapping[str, Clip]] | None,
) -> tuple[Interval, int]:
    """The interval over seeds and clips, or over seeds where not all runs have the same clips; and how many clips."""
    names = list(clips[0])
    if not names or any(each.keys() != clips[0].keys() for each in [*clips, *(less or [])]):
        return over_seeds(scores), 0
    values = np.array([[each[name].score for name in names] for each in clips])
    if less is not None:
        values -= np.array([[each[name].score for name in names] for each in less])
    return over_seeds_and_clips(values, [clips[0][name].cluster for name in names]), len(names)


def _columns(runs: Sequence[Run], shown: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    for patterns in [shown] if shown else [(*_SHOWN, *_SHOWN_CLASSES), _SHOWN_VALIDATION]:
        if fitting := [name for pattern in patterns for name in names if fnmatch(name, pattern)]:
            return list(dict.fromkeys(fitting))
    if shown:
        raise UserError(f"no score fits {' '.join(shown)}: there are {', '.join(names) or 'none'}")
    return []


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": None if estimate.mean is None else estimate.mean._asdict(),
        "deviation": estimate.deviation,
        "by_seed": {str(seed): value for seed, value in estimate.by_seed.items()},
        "clips": estimate.clips,
        "difference": None if estimate.difference is None else estimate.difference._asdict(),
        "difference_by_seed": {
            str(seed): value for seed, value in estimate.difference_by_seed.items()
        },
    }
