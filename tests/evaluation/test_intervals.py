"""`ecmvae evaluate` on composed clips: the model's own fold, and intervals by picture in every form of the report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from collage_fixture import make_sources
from rich.console import Console

from ecmvae.config import config_from_dict
from ecmvae.data.collage.items import FORMAT
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.table import packaged_table
from ecmvae.evaluation.command import evaluate as evaluate_command
from ecmvae.evaluation.intervals import interval_rows, interval_table
from ecmvae.metrics.by_picture import Interval, PictureScores
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model


def test_a_collage_report_has_intervals_by_picture_of_the_models_fold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sources(tmp_path / "cache" / f"sources-{FORMAT}-{packaged_table().digest[:12]}")
    config = config_from_dict(
        {
            "model": {
                "visual": {"name": "efficientnet_lite0"},
                "audio": {"name": "vggish_small"},
                "channels": 8,
            },
            "data": {
                "name": "collage",
                "root": str(tmp_path / "cache"),
                "folds": 3,
                "fold": 1,
                "image_size": 32,
            },
        }
    )
    model = build_model(config.model, image_size=32, with_audio_encoder=True)
    folder = save_model(model, tmp_path / "best", config)
    evaluate_command(
        str(folder),
        task="collage",
        split="test_unseen",
        limit=8,
        device="cpu",
        out=str(tmp_path / "scores"),
    )
    assert "bootstrap over the pictures" in capsys.readouterr().out
    written = tmp_path / "scores" / "collage_test_unseen"
    with (written / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    fold = CollageSources.fetch(tmp_path / "cache").fold(1, 3)
    held_out = {item.id for item in fold.items if item.pool == "held_out"}
    assert {clip["picture"] for clip in clips} | {clip["recording"] for clip in clips} <= held_out
    report = json.loads((written / "report.json").read_text())
    found = report["scores"]["real"]["by_picture"]
    assert found["clips"] == 8
    assert found["pictures"] == len({clip["picture"] for clip in clips})
    assert found["recordings"] == len({clip["recording"] for clip in clips})
    assert found["miou"]["value"] == pytest.approx(
        np.mean([float(clip["miou"]) for clip in clips]), abs=1e-6
    )
    assert found["right_of_two"]["value"] == pytest.approx(report["scores"]["real"]["right_of_two"])
    assert found["miou"]["low"] <= found["miou"]["value"] <= found["miou"]["high"]
    assert report["floors"]["all_objects"]["by_picture"] is None
    assert "| real | " + str(found["pictures"]) in (written / "report.md").read_text()


def test_the_table() -> None:
    scores = {
        "real sound": PictureScores(
            3, 4, 9, Interval(0.5, 0.25, 0.75), Interval(0.5, None, None), None
        )
    }
    cells = ("real sound", "3", "4", ".500 [.25-.75]", ".500", "-")
    assert interval_rows(scores) == [cells]
    console = Console(width=80)
    with console.capture() as shown:
        console.print(interval_table(scores))
    assert all(cell in shown.get() for cell in cells)
