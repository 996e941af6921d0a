"""The table against numbers worked out by hand: mean, spread, interval, difference; what failed stays in sight."""

import csv
import json
from pathlib import Path

import pytest
from study_folders import make_report, make_run

from ecmvae.errors import UserError
from ecmvae.study.runs import collect
from ecmvae.study.table import StudyTable


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def test_seeds_are_a_row_and_differences_are_taken_seed_by_seed(tmp_path: Path) -> None:
    for seed, plain, without in ((0, 0.2, 0.1), (1, 0.6, 0.3)):
        make_run(tmp_path / f"a-{seed}", plain, train__seed=seed)
        make_run(tmp_path / f"b-{seed}", without, train__seed=seed, loss__kl=0.0)
    table = StudyTable.of(collect([tmp_path]))
    heading, _, base, other, *intervals = rows(table.to_markdown())
    assert heading == ["variant", "seeds", "val/miou"]
    # sd of (0.2, 0.6) = 0.2828; of (0.1, 0.3) = 0.1414.
    assert base == ["base", "2", "0.4000 ± 0.2828"]
    assert other == ["loss.kl=0.0", "2", "0.2000 ± 0.1414"]
    # Differences -0.1 and -0.3: mean -0.2, sd 0.1414; t with one degree of freedom: 12.7062 * 0.1414 / sqrt(2) = 1.2706
    assert intervals[0] == [
        "variant",
        "val/miou, 95 % interval",
        "difference to base",
        "seeds",
        "clips",
    ]
    assert intervals[3] == [
        "loss.kl=0.0",
        "0.2000 [-1.0706, 1.4706]",
        "-0.2000 [-1.4706, 1.0706]",
        "2",
        "0",
    ]
    assert "Student's t" in table.to_markdown()


def test_clips_are_paired(tmp_path: Path) -> None:
    """Each variant's clips differ much, but every difference is 0.1: it is certain, the means are not."""
    for seed in (0, 1):
        clips = {f"clip {k}": 0.2 + 0.06 * k for k in range(10)}
        base = make_run(tmp_path / f"a-{seed}", 0.2, train__seed=seed)
        make_report(base, sum(clips.values()) / 10, clips=clips)
        other = make_run(tmp_path / f"b-{seed}", 0.3, train__seed=seed, loss__kl=0.0)
        make_report(
            other,
            0.1 + sum(clips.values()) / 10,
            clips={name: 0.1 + value for name, value in clips.items()},
        )
    table = StudyTable.of(collect([tmp_path]))
    assert table.headlines == [
        "s4 test, 10 clips: per_clip.miou",
        "s4 test, 10 clips: per_clip.fscore",
    ]
    estimate = table.rows[1].estimates[table.headlines[0]]
    assert estimate.clips == 10
    assert estimate.difference == pytest.approx((0.1, 0.1, 0.1))
    assert estimate.mean.value == pytest.approx(0.57)
    assert estimate.mean.high - estimate.mean.low > 0.1
    text = table.to_markdown()
    assert "bootstrap over seeds and clips" in text
    assert "With 2 seeds they are too narrow" in text


def test_data_that_all_columns_share_are_named_once(tmp_path: Path) -> None:
    make_report(make_run(tmp_path / "a-0", 0.9), 0.3, clips={"x": 0.2, "y": 0.4})
    table = StudyTable.of(collect([tmp_path]), shown=["*per_clip.miou"])
    text = table.to_markdown()
    assert rows(text)[0] == ["variant", "seeds", "per_clip.miou"]
    assert text.count("s4 test, 2 clips") == 1
    assert "Scored on s4 test, 2 clips. " in text
    assert "With one seed they cover the clips alone." in text


def test_runs_of_other_clips_fall_back_on_their_seeds(tmp_path: Path) -> None:
    for seed, name in ((0, "x"), (1, "y")):
        make_report(
            make_run(tmp_path / f"a-{seed}", 0.2, train__seed=seed),
            0.3,
            clips={name: 0.3, "z": 0.3},
        )
    estimate = (
        StudyTable.of(collect([tmp_path])).rows[0].estimates["s4 test, 2 clips: per_clip.miou"]
    )
    assert estimate.clips == 0
    assert estimate.by_seed == {0: 0.3, 1: 0.3}


def test_what_did_not_finish_is_listed_and_counts_nowhere(tmp_path: Path) -> None:
    make_run(tmp_path / "a-0", 0.2, train__seed=0)
    make_run(tmp_path / "a-1", 0.9, train__seed=1, finished=False)
    study = [
        {"variant": "base", "seed": 0, "folder": "a-0", "state": "finished", "code": 0},
        {
            "variant": "c",
            "seed": 7,
            "folder": "c-7",
            "state": "failed (exit 1): the loss is NaN",
            "code": 1,
        },
    ]
    (tmp_path / "study.json").write_text(json.dumps({"runs": study}))
    text = StudyTable.of(collect([tmp_path])).to_markdown()
    assert rows(text)[2:4] == [["base", "1", "0.2000"], ["c", "0", "-"]]
    assert rows(text)[-1] == ["c", "-", "-", "0", "0"]
    assert "2 of 3 runs" in text
    assert "- a-1 (seed 1): stopped, or still running" in text
    assert "- c-7 (seed 7): failed (exit 1): the loss is NaN" in text


def test_scores_of_other_clips_are_columns_of_their_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a-0", 0.9)
    make_report(run, 0.3)
    make_report(run, 0.4, clips=5)
    table = StudyTable.of(collect([tmp_path]), shown=["*per_clip.miou"])
    heading, _, base, *_ = rows(table.to_markdown())
    assert heading[2:] == ["s4 test, 10 clips: per_clip.miou", "s4 test, 5 clips: per_clip.miou"]
    assert base[2:] == ["0.3000", "0.4000"]
    first, *_, last = StudyTable.of(collect([tmp_path])).columns  # the headline comes first
    assert (first, last) == (
        "s4 test, 10 clips: per_clip.miou",
        "s4 test, 5 clips: b4 avsbench.fscore",
    )


def test_base_names_the_row_to_compare_with(tmp_path: Path) -> None:
    make_run(tmp_path / "a-0", 0.2, loss__kl=0.0)
    make_run(tmp_path / "b-0", 0.6)
    table = StudyTable.of(collect([tmp_path]), base=tmp_path / "b-0")
    assert [row.label for row in table.rows] == ["base", "loss.kl=0.0"]
    assert table.rows[1].estimates["val/miou"].difference == (pytest.approx(-0.4), None, None)


def test_a_long_list_of_changes_is_cut(tmp_path: Path) -> None:
    make_run(tmp_path / "a-0", 0.2)
    knobs = {
        "loss__kl": 0.0,
        "train__epochs": 3,
        "train__warmup": 1,
        "train__batch_size": 2,
        "model__channels": 16,
    }
    make_run(tmp_path / "b-0", 0.6, **knobs)
    table = StudyTable.of(collect([tmp_path]))
    assert table.rows[1].label.endswith(" and 2 more")
    changed = table.to_dict()["variants"][1]["changes"]
    assert changed == {
        "loss.kl": 0.0,
        "train.epochs": 3,
        "train.warmup": 1,
        "train.batch_size": 2,
        "model.channels": 16,
    }


def test_files_hold_what_the_table_shows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "a-0", 0.25, train__seed=3)
    make_report(run, 0.3, clips={"x": 0.2, "y": 0.4})
    table = StudyTable.of(collect([tmp_path / "runs"]))
    files = table.write(tmp_path / "table")
    assert [path.name for path in files] == ["table.md", "table.csv", "table.json", "table.png"]
    assert files[0].read_text() == table.to_markdown()
    with files[1].open() as file:
        (row,) = csv.DictReader(file)
    assert (row["seed"], row["state"], row["val/miou"], row["variant"]) == (
        "3",
        "finished",
        "0.25",
        "base",
    )
    (variant,) = json.loads(files[2].read_text())["variants"]
    assert variant["scores"]["s4 test, 2 clips: per_clip.miou"]["by_seed"] == {"3": 0.3}
    assert variant["scores"]["s4 test, 2 clips: per_clip.miou"]["mean"]["value"] == pytest.approx(
        0.3
    )


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        collect([tmp_path / "none"])
    with pytest.raises(UserError, match="no runs of ecmvae train in"):
        collect([tmp_path])
    make_run(tmp_path / "a-0", 0.2)
    with pytest.raises(UserError, match="there are val/miou"):
        StudyTable.of(collect([tmp_path]), shown=["test*"])
    with pytest.raises(UserError, match="none of these runs"):
        StudyTable.of(collect([tmp_path]), base=tmp_path / "b")
