"""Runs are found where they lie; a report counts for the weights it was made with."""

import json
from pathlib import Path

import pytest
from study_folders import make_report, make_run

from ecmvae.errors import UserError
from ecmvae.study.runs import Clip, collect


def test_reports_count_for_the_weights_they_were_made_with(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a-0", 0.9)
    make_report(run, 0.3)
    make_report(run, 0.7, sha256="0" * 64)  # of weights that are no more
    make_report(run, 0.4, clips=5)  # other clips: a score of its own
    (found,) = collect([tmp_path])
    assert found.scores["s4 test, 10 clips: per_clip.miou"] == 0.3
    assert found.scores["s4 test, 5 clips: per_clip.miou"] == 0.4
    assert found.scores["s4 test, 10 clips: gain.silent"] == 0.25
    assert found.scores["s4 test, 10 clips: b4 avsbench.fscore"] == 0.6
    assert 0.7 not in found.scores.values()
    assert found.scores["val/miou"] == 0.9


def test_clips_are_those_whose_mean_the_score_is(tmp_path: Path) -> None:
    make_report(make_run(tmp_path / "a-0", 0.9), 0.3, clips={"x": 0.2, "y": 0.4})
    (found,) = collect([tmp_path])
    assert found.clips == {
        "s4 test, 2 clips: per_clip.miou": {"x": Clip(0.2, "x"), "y": Clip(0.4, "y")},
        "s4 test, 2 clips: per_clip.fscore": {"x": Clip(0.5, "x"), "y": Clip(0.5, "y")},
    }


def test_a_table_of_other_clips_is_left_out(tmp_path: Path) -> None:
    # their mean is not 0.8
    make_report(make_run(tmp_path / "a-0", 0.9), 0.8, clips={"x": 0.2, "y": 0.4})
    (found,) = collect([tmp_path])
    assert list(found.clips) == ["s4 test, 2 clips: per_clip.fscore"]


def test_clips_that_the_seed_composed_are_not_the_same_clips(tmp_path: Path) -> None:
    # data without a folder
    make_report(make_run(tmp_path / "a-0", 0.9), 0.3, clips={"x": 0.2, "y": 0.4}, data="s4")
    assert collect([tmp_path])[0].clips == {}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = make_report(make_run(tmp_path / "a-0", 0.9), 0.3, clips={"x": 0.3})
    table = folder / "clips.csv"
    table.write_text(table.read_text().replace("0.3", "?"))
    with pytest.raises(UserError, match=r"clips\.csv has no number for each clip in miou"):
        collect([tmp_path])
    (folder / "report.json").write_text("{")
    with pytest.raises(UserError, match=r"report\.json"):
        collect([tmp_path])


def test_states_come_from_the_study_or_from_the_last_file(tmp_path: Path) -> None:
    make_run(tmp_path / "a-0", 0.2)
    make_run(tmp_path / "a-1", 0.9, finished=False)
    rows = [
        {
            "variant": "c",
            "seed": 7,
            "folder": "c-7",
            "state": "failed (exit 1): the loss is NaN",
            "code": 1,
        }
    ]
    (tmp_path / "study.json").write_text(json.dumps({"runs": rows}))
    found = {run.folder.name: (run.state, run.variant) for run in collect([tmp_path])}
    assert found == {
        "c-7": ("failed (exit 1): the loss is NaN", "c"),
        "a-0": ("finished", ""),
        "a-1": ("stopped, or still running", ""),
    }
