"""The table against numbers worked out by hand: mean, spread, n; what failed stays in sight."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from collect_results import collect, main, mean_and_spread, table

from ecmvae.config import load_config
from ecmvae.hub.client import sha256_of


def make_run(folder: Path, miou: float, *, finished: bool = True, **knobs: Any) -> Path:
    """What a run leaves, with made-up weights."""
    (folder / "best").mkdir(parents=True)
    config = load_config((), {key.replace("__", "."): value for key, value in knobs.items()})
    (folder / "config.yaml").write_text(config.to_yaml())
    (folder / "best" / "config.yaml").write_text(config.to_yaml())
    (folder / "best" / "model.safetensors").write_bytes(folder.name.encode())
    (folder / "best" / "metadata.json").write_text(json.dumps({"epoch": 3, "val/miou": miou, "commit": "abc"}))
    if finished:
        (folder / "curves.png").touch()
    return folder


def make_report(run: Path, miou: float, *, sha256: str | None = None, clips: int = 10) -> None:
    """What an evaluation of that run leaves, somewhere else."""
    about = {
        "task": "s4",
        "split": "test",
        "clips": clips,
        "batch_clips": 4,
        "latents": "mean",
        "sha256": sha256 or sha256_of(run / "best" / "model.safetensors"),
    }
    scores = {"real": {"per_clip": {"miou": miou, "fscore": 0.5}, "avsbench": {"miou": miou, "fscore": 0.6}}}
    folder = run.parent / "reports" / f"{run.name}-{clips}-{sha256}"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"about": about, "scores": scores, "audio_gain": {"silent": 0.25}}))


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_mean_and_spread() -> None:
    # 0.2, 0.4, 0.6: mean 0.4, sample variance (0.04 + 0 + 0.04) / 2 = 0.04.
    assert mean_and_spread([0.2, 0.4, 0.6]) == "0.4000 ± 0.2000"
    assert mean_and_spread([0.3]) == "0.3000"
    assert mean_and_spread([]) == "-"


def test_seeds_are_a_row_and_differences_are_taken_seed_by_seed(tmp_path: Path) -> None:
    for seed, plain, without in ((0, 0.2, 0.1), (1, 0.6, 0.3)):
        make_run(tmp_path / f"a-{seed}", plain, train__seed=seed)
        make_run(tmp_path / f"b-{seed}", without, train__seed=seed, loss__kl=0.0)
    heading, _, base, other = rows(table(collect([tmp_path])))
    assert heading == ["switch", "n", "val/miou", "difference in the first score, n"]
    # sd of (0.2, 0.6) = 0.2828; of (0.1, 0.3) = 0.1414; differences -0.1 and -0.3: -0.2, sd 0.1414.
    assert base == ["base", "2", "0.4000 ± 0.2828", ""]
    assert other == ["loss.kl=0.0", "2", "0.2000 ± 0.1414", "-0.2000 ± 0.1414, 2"]


def test_what_did_not_finish_is_listed_and_counts_nowhere(tmp_path: Path) -> None:
    make_run(tmp_path / "a-0", 0.2, train__seed=0)
    make_run(tmp_path / "a-1", 0.9, train__seed=1, finished=False)
    study = [
        {"switch": "a", "seed": 0, "folder": "a-0", "state": "finished", "code": 0},
        {"switch": "c", "seed": 7, "folder": "c-7", "state": "failed (exit 1): the loss is NaN", "code": 1},
    ]
    (tmp_path / "study.json").write_text(json.dumps({"runs": study}))
    text = table(collect([tmp_path]))
    assert rows(text)[2:] == [["base", "1", "0.2000", ""], ["c-7", "0", "-", "-, 0"]]
    assert "2 of 3 runs" in text
    assert "- a-1 (seed 1): stopped, or still running" in text
    assert "- c-7 (seed 7): failed (exit 1): the loss is NaN" in text


def test_reports_count_for_the_weights_they_were_made_with(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a-0", 0.9)
    make_report(run, 0.3)
    make_report(run, 0.7, sha256="0" * 64)  # of weights that are no more
    make_report(run, 0.4, clips=5)  # other clips: a column of its own
    heading, _, base = rows(table(collect([tmp_path]), shown=["*per_clip.miou"]))
    assert heading[2:4] == ["s4 test, 10 clips: per_clip.miou", "s4 test, 5 clips: per_clip.miou"]
    assert base[2:4] == ["0.3000", "0.4000"]
    first, *_, last = rows(table(collect([tmp_path])))[0][2:-1]  # the headline comes first
    assert (first, last) == ("s4 test, 10 clips: per_clip.miou", "s4 test, 5 clips: b4 avsbench.fscore")
    assert "gain.silent" in table(collect([tmp_path]), shown=["*gain*"])


def test_base_names_the_row_to_compare_with(tmp_path: Path) -> None:
    make_run(tmp_path / "a-0", 0.2, loss__kl=0.0)
    make_run(tmp_path / "b-0", 0.6)
    text = table(collect([tmp_path]), base=tmp_path / "b-0")
    assert [row[0] for row in rows(text)[2:]] == ["base", "loss.kl=0.0"]
    assert rows(text)[3][3] == "-0.4000, 1"


def test_the_command_writes_a_row_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs" / "a-0", 0.25, train__seed=3)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "table")]) == 0
    assert (tmp_path / "table.md").read_text() == capsys.readouterr().out
    with (tmp_path / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["seed"], row["state"], row["val/miou"], row["switch"]) == ("3", "finished", "0.25", "base")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert main([str(tmp_path)]) == 2
    make_run(tmp_path / "a-0", 0.2)
    assert main([str(tmp_path), "--scores", "test*"]) == 2
    assert main([str(tmp_path), "--base", str(tmp_path / "b")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "no such folder" in lines[0]
    assert "no runs" in lines[1]
    assert "there are val/miou" in lines[2]
    assert "none of these runs" in lines[3]
