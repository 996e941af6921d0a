"""Run folders and reports as `ecmvae train` and `ecmvae evaluate` leave them, with made-up weights and scores."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecmvae.config import load_config
from ecmvae.hub.client import sha256_of


def make_run(folder: Path, miou: float, *, finished: bool = True, **knobs: Any) -> Path:
    """What a run leaves."""
    (folder / "best").mkdir(parents=True)
    config = load_config((), {key.replace("__", "."): value for key, value in knobs.items()})
    (folder / "config.yaml").write_text(config.to_yaml())
    (folder / "best" / "config.yaml").write_text(config.to_yaml())
    (folder / "best" / "model.safetensors").write_bytes(folder.name.encode())
    (folder / "best" / "metadata.json").write_text(
        json.dumps({"epoch": 3, "val/miou": miou, "commit": "abc"})
    )
    if finished:
        (folder / "curves.png").touch()
    return folder


def make_report(
    run: Path,
    miou: float,
    *,
    sha256: str | None = None,
    clips: Mapping[str, float] | int = 10,
    data: str = "AVSBench",
) -> Path:
    """What an evaluation of that run leaves, somewhere else.

    Args:
        run: The run.
        miou: The headline.
        sha256: Of other weights than the run's.
        clips: Their number, or the mIoU of each by name.
        data: Where they lay.
    """
    count = clips if isinstance(clips, int) else len(clips)
    about = {
        "task": "s4",
        "split": "test",
        "clips": count,
        "data": data,
        "batch_clips": 4,
        "latents": "mean",
        "sha256": sha256 or sha256_of(run / "best" / "model.safetensors"),
    }
    scores = {
        "real": {
            "per_clip": {"miou": miou, "fscore": 0.5},
            "avsbench": {"miou": miou, "fscore": 0.6},
        }
    }
    folder = run.parent / "reports" / f"{run.name}-{count}-{sha256}"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(
        json.dumps({"about": about, "scores": scores, "audio_gain": {"silent": 0.25}})
    )
    if not isinstance(clips, int):
        with (folder / "clips.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "miou", "fscore", "picture"])
            writer.writerows([name, value, 0.5, ""] for name, value in clips.items())
    return folder
