"""One table of many runs: collect_results.py FOLDER... [--out TABLE].

Runs that differ in nothing but their seed are one row: mean ± sample standard deviation over the n that finished. A row
is named by the knobs that its config.yaml has otherwise than the first row's (or --base's), not by a folder's name.
Failed and stopped runs are listed below the table and count in no mean.

Scores come from report.json files of ecmvae evaluate, anywhere in the folders, that were made with exactly these
weights (they carry the SHA-256), and from each run's best validation (val/...), which was chosen as the best of its
epochs and is therefore kinder than a test. Scores of other clips, batch sizes or latents never share a column.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ecmvae.config import load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.client import sha256_of
from ecmvae.hub.named_models import CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE

STUDY_FILE = "study.json"
"""What run_ablation.py keeps about its runs."""

FINISHED = "finished"

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
_NOT_COMPARED = ("train.seed", "train.name", "train.out", "train.device", "train.devices", "data.workers")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: Its folder, which does not exist where it failed at once.
        knobs: Its configuration by dotted name, without seed, name and what does not matter to the result.
        seed: Its seed.
        state: "finished", or what became of it.
        scores: By name, fractions.
    """

    folder: Path
    knobs: Mapping[str, Any]
    seed: int
    state: str
    scores: Mapping[str, float]


def collect(folders: Iterable[Path]) -> list[Run]:
    """All runs in the folders and below, those of a study in its order, others by name.

    Raises:
        UserError: When there is none, or a file of one cannot be read.
    """
    known: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        reports = [_json(path) for path in sorted(folder.rglob("report.json"), key=lambda path: path.stat().st_mtime)]
        entries: dict[Path, Mapping[str, Any]] = {}
        for study in sorted(folder.rglob(STUDY_FILE)):
            for entry in _json(study)["runs"]:
                entries[study.parent / entry["folder"]] = entry
        configs = sorted(folder.rglob(CONFIG_FILE))
        runs = [each.parent for each in configs if not (each.parent / WEIGHTS_FILE).exists()]
        for run in dict.fromkeys([*entries, *runs]):
            known[run.resolve()] = _read(run, entries.get(run, {}), reports)
    if not known:
        raise UserError("no runs of ecmvae train in these folders")
    return list(known.values())


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ by their seed alone, together; in the order in which they come."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.knobs, sort_keys=True), []).append(run)
    return list(found.values())


def label(run: Run, base: Run) -> str:
    """What the run has otherwise than the base."""
    if not run.knobs:
        return run.folder.name
    different = [f"{name}={value}" for name, value in run.knobs.items() if base.knobs.get(name) != value]
    return ", ".join(different) or "base"


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; the mean alone of a single value, and - of none."""
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def table(runs: Sequence[Run], base: Path | None = None, shown: Sequence[str] = ()) -> str:
    """The table as Markdown.

    Args:
        runs: Of `collect`.
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
    against = _by_seed(rows[0], columns[0]) if columns else {}
    lines = [
        "| switch | n | " + " | ".join(columns) + " | difference in the first score, n |",
        "|---|---|" + "---|" * len(columns) + "---|",
    ]
    for row in rows:
        done = [run for run in row if run.state == FINISHED]
        cells = [mean_and_spread([run.scores[name] for run in done if name in run.scores]) for name in columns]
        own = _by_seed(row, columns[0]) if columns else {}
        pairs = [own[seed] - against[seed] for seed in own if seed in against]
        change = "" if row is rows[0] else f"{mean_and_spread(pairs)}, {len(pairs)}"
        lines.append(f"| {label(row[0], rows[0][0])} | {len(done)} | " + " | ".join([*cells, change]) + " |")
    lines += [
        "",
        "Fractions: mean ± sample standard deviation over n seeds; the difference is taken seed by seed.",
    ]
    unfinished = [run for run in runs if run.state != FINISHED]
    if unfinished:
        lines += ["", f"Not finished, in no mean: {len(unfinished)} of {len(runs)} runs.", ""]
        lines += [f"- {run.folder.name} (seed {run.seed}): {run.state}" for run in unfinished]
    unscored = [run.folder.name for run in runs if run.state == FINISHED and not set(columns) <= run.scores.keys()]
    if unscored:
        lines += ["", f"Finished, but without some of these scores: {', '.join(unscored)}."]
    return "\n".join(lines) + "\n"


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """A row a run, with every score there is."""
    names = sorted({name for run in runs for name in run.scores})
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["folder", "switch", "seed", "state", *names])
        for run in runs:
            scores = [run.scores.get(name, "") for name in names]
            writer.writerow([run.folder, label(run, runs[0]), run.seed, run.state, *scores])


def _read(folder: Path, entry: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> Run:
    if not (folder / CONFIG_FILE).exists():  # a study's run that failed before it had a folder
        return Run(folder, {}, entry["seed"], entry["state"], {})
    knobs = by_dotted_name(load_config(folder / CONFIG_FILE).to_dict())
    seed = knobs["train.seed"]
    scores: dict[str, float] = {}
    if (folder / "best" / METADATA_FILE).exists():
        scores = {name: value for name, value in _json(folder / "best" / METADATA_FILE).items() if "val/" in name}
        digest = sha256_of(folder / "best" / WEIGHTS_FILE)
        for report in reports:
            if report["about"].get("sha256") == digest:
                scores |= _scores(report)
    # curves.png is the last thing that a run writes.
    seen = FINISHED if (folder / "curves.png").exists() else "stopped, or still running"
    state = entry.get("state", seen)
    return Run(folder, {name: knobs[name] for name in knobs if name not in _NOT_COMPARED}, seed, state, scores)


def _scores(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers under the real sound, and what that was worth; the names say on what and how."""
    about = report["about"]
    how = "" if about.get("latents") == "mean" else f" {about.get('latents')} x{about.get('samples')}"
    prefix = f"{about['task']} {about['split']}, {about['clips']} clips{how}: "
    real = report["scores"].get("real") or report["scores"]["real sound"]
    batches = {"avsbench": f"b{about['batch_clips']} avsbench"} if "batch_clips" in about else {}
    named = {batches.get(name, name): value for name, value in real.items()} | {"gain": report["audio_gain"]}
    return {f"{prefix}{name}": value for name, value in by_dotted_name(named).items() if isinstance(value, float)}


def _columns(runs: Sequence[Run], shown: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    for patterns in [shown] if shown else [(*_SHOWN, *_SHOWN_CLASSES), _SHOWN_VALIDATION]:
        if fitting := [name for pattern in patterns for name in names if fnmatch(name, pattern)]:
            return list(dict.fromkeys(fitting))
    if shown:
        raise UserError(f"no score fits {' '.join(shown)}: there are {', '.join(names) or 'none'}")
    return []


def _by_seed(row: Sequence[Run], score: str) -> dict[int, float]:
    return {run.seed: run.scores[score] for run in row if run.state == FINISHED and score in run.scores}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 means a mistake that the user can correct."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, studies, or what holds them")
    parser.add_argument("--base", type=Path, help="a run of the row to compare with; by default the first")
    parser.add_argument(
        "--scores", nargs="+", default=[], metavar="PATTERN", help="what to show, in order, such as 'val/*'"
    )
    parser.add_argument("--out", type=Path, help="also write TABLE.md and TABLE.csv, which has a row a run")
    options = parser.parse_args(arguments)
    try:
        runs = collect(options.folders)
        text = table(runs, options.base, options.scores)
        if options.out is not None:
            with replacing(options.out.with_suffix(".md")) as part:
                part.write_text(text, encoding="utf-8")
            write_csv(runs, options.out.with_suffix(".csv"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
