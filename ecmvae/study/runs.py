"""What the runs in some folders have scored: every run of `ecmvae train`, of a study or not."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecmvae.config import load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import LARGE, read_json, read_text
from ecmvae.hub.client import sha256_of
from ecmvae.hub.named_models import CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE

STUDY_FILE = "study.json"
"""What a study keeps about its runs."""

FINISHED = "finished"

_NOT_COMPARED = (
    "train.seed",
    "train.name",
    "train.out",
    "train.device",
    "train.devices",
    "data.workers",
)
_BY_CLIP = {"per_clip.miou": "miou", "per_clip.fscore": "fscore"}
"""Score -> the column of clips.csv whose mean it is."""


@dataclass(frozen=True)
class Clip:
    """One clip's score, and what the clip is drawn with: its picture, or its own name."""

    score: float
    cluster: str


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: Its folder, which does not exist where it failed at once.
        knobs: Its configuration by dotted name, without seed, name and what does not change the result.
        seed: Its seed.
        state: "finished", or what became of it.
        scores: By name, fractions.
        clips: The scores of single clips, by name of the score and of the clip, where a report has them.
        variant: Its name in a study; "" outside.
    """

    folder: Path
    knobs: Mapping[str, Any]
    seed: int
    state: str
    scores: Mapping[str, float]
    clips: Mapping[str, Mapping[str, Clip]] = field(default_factory=dict)
    variant: str = ""


def collect(folders: Iterable[Path]) -> list[Run]:
    """All runs in the folders and below: those of a study in its order, others by name.

    Scores come from the report.json files of ecmvae evaluate, anywhere in the folders, that were made with exactly a
    run's weights (they carry the SHA-256), and from its best validation (val/...).

    Raises:
        UserError: When there is none, or a file of one cannot be read.
    """
    known: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{show_path(folder)}: no such folder")
        reports = sorted(folder.rglob("report.json"), key=lambda path: path.stat().st_mtime)
        entries: dict[Path, Mapping[str, Any]] = {}
        for study in sorted(folder.rglob(STUDY_FILE)):
            for entry in read_json(study, LARGE)["runs"]:
                entries[study.parent / entry["folder"]] = entry
        configs = sorted(folder.rglob(CONFIG_FILE))
        runs = [each.parent for each in configs if not (each.parent / WEIGHTS_FILE).exists()]
        read = [(path, read_json(path, LARGE)) for path in reports]
        for run in dict.fromkeys([*entries, *runs]):
            known[run.resolve()] = _read(run, entries.get(run, {}), read)
    if not known:
        raise UserError(f"no runs of ecmvae train in {', '.join(map(show_path, folders))}")
    return list(known.values())


def _read(
    folder: Path, entry: Mapping[str, Any], reports: Iterable[tuple[Path, Mapping[str, Any]]]
) -> Run:
    variant = str(entry.get("variant", ""))
    if not (folder / CONFIG_FILE).exists():  # a study's run that failed before it had a folder
        return Run(folder, {}, entry["seed"], entry["state"], {}, variant=variant)
    knobs = by_dotted_name(load_config(folder / CONFIG_FILE).to_dict())
    scores: dict[str, float] = {}
    clips: dict[str, Mapping[str, Clip]] = {}
    if (folder / "best" / METADATA_FILE).exists():
        scores = {
            name: value
            for name, value in read_json(folder / "best" / METADATA_FILE).items()
            if "val/" in name
        }
        digest = sha256_of(folder / "best" / WEIGHTS_FILE)
        for path, report in reports:
            if report["about"].get("sha256") == digest:
                prefix, found = _scores(report)
                scores |= {f"{prefix}{name}": value for name, value in found.items()}
                if not _composed(report["about"]):
                    own = _clips(path.parent / "clips.csv", found)
                    clips |= {f"{prefix}{name}": each for name, each in own.items()}
    # curves.png is the last thing that a run writes.
    seen = FINISHED if (folder / "curves.png").exists() else "stopped, or still running"
    compared = {name: knobs[name] for name in knobs if name not in _NOT_COMPARED}
    return Run(
        folder, compared, knobs["train.seed"], entry.get("state", seen), scores, clips, variant
    )


def _composed(about: Mapping[str, Any]) -> bool:
    """Whether the clips were composed from the run's seed: those of two seeds are then different ones of one name."""
    return about["task"] in ("collage", "synthetic") or about.get("data") == about["task"]


def _scores(report: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """The numbers under the real sound, and what that was worth; what all their names begin with says on what."""
    about = report["about"]
    how = (
        "" if about.get("latents") == "mean" else f" {about.get('latents')} x{about.get('samples')}"
    )
    prefix = f"{about['task']} {about['split']}, {about['clips']} clips{how}: "
    real = report["scores"].get("real") or report["scores"]["real sound"]
    batches = {"avsbench": f"b{about['batch_clips']} avsbench"} if "batch_clips" in about else {}
    named = {batches.get(name, name): value for name, value in real.items()} | {
        "gain": report["audio_gain"]
    }
    return prefix, {
        name: value for name, value in by_dotted_name(named).items() if isinstance(value, float)
    }


def _clips(table: Path, scores: Mapping[str, float]) -> dict[str, dict[str, Clip]]:
    """The scores of single clips, of those scores that are their mean."""
    if not table.is_file() or not _BY_CLIP.keys() & scores.keys():
        return {}
    rows = list(csv.DictReader(read_text(table, LARGE).splitlines()))
    names = [row["name"] for row in rows]
    if len(set(names)) < len(names):
        return {}
    found = {}
    for score, column in _BY_CLIP.items():
        try:
            values = [float(row[column]) for row in rows]
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{show_path(table)} has no number for each clip in {column}: score again"
            ) from error
        if score in scores and math.isclose(
            math.fsum(values) / len(values), scores[score], abs_tol=1e-5
        ):
            clusters = [row.get("picture") or row["name"] for row in rows]
            found[score] = dict(zip(names, map(Clip, values, clusters), strict=True))
    return found
