"""Data sets with a record through the real configuration: a training run of seconds, and what evaluate says of it."""

import json
import shutil
from pathlib import Path

import pytest

from ecmvae.cli import main
from ecmvae.data.sets.miniature import write_set

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of masks, trained on VPO-SS, and one of its 22 classes."""
    root = tmp_path_factory.mktemp("recorded")
    write_set(root / "vpo", "vpo_ss", {"train": 4, "val": 2, "test": 3})
    small = {
        "data.name": "vpo_ss",
        "data.root": str(root / "vpo"),
        "data.image_size": "32",
        "model.channels": "8",
        "train.batch_size": "4",
        "train.epochs": "1",
        "train.device": "cpu",
        "train.log_images": "0",
        "train.out": str(root),
    }
    classes = {"model.num_classes": "22", "loss.structure": "0", "loss.posterior_structure": "0"}
    for name, more in (("masks", {}), ("classes", classes)):
        options = [
            word
            for key, value in {**small, **more, "train.name": name}.items()
            for word in (f"--{key}", value)
        ]
        assert main(["train", "--config", str(DEBUG), *options]) == 0
    return root


def evaluated(runs: Path, out: Path, model: str, data: Path, *more: str) -> dict:
    words = [
        "evaluate",
        "--checkpoint",
        str(runs / f"{model}-001"),
        "--data",
        str(data),
        "--out",
        str(out),
        *more,
    ]
    assert main([*words, "--device", "cpu"]) == 0
    (folder,) = out.iterdir()
    assert (folder / "clips.csv").read_text().count("\n") > 1
    assert (folder / "report.md").is_file()
    return json.loads((folder / "report.json").read_text())


def test_masks_and_classes_of_vpo(runs: Path, tmp_path: Path) -> None:
    masks = evaluated(runs, tmp_path / "a", "masks", runs / "vpo")  # the task is found by the table
    assert masks["about"]["task"] == "vpo_ss"
    assert masks["about"]["clips"] == masks["about"]["frames"] == 3
    assert 0 <= masks["scores"]["real"]["fdr_masks"]["fdr"] <= 1
    assert masks["scores"]["real"]["per_clip"]["miou"] == masks["miou"]
    classes = evaluated(runs, tmp_path / "b", "classes", runs / "vpo", "--task", "vpo_ss")
    assert classes["classes"][0]["name"] == "background"
    assert 0 <= classes["scores"]["real sound"]["fdr"]["fdr"] <= 1


def test_named_protocols(runs: Path, tmp_path: Path) -> None:
    named = "[avs_jf, davis, omniavs, null_set]"
    report = evaluated(runs, tmp_path / "out", "masks", runs / "vpo", "--metrics", named)
    real = report["scores"]["real"]
    assert set(real) == {"per_clip", "avs_jf", "davis", "omniavs", "null_set"}
    assert real["davis"]["jf"] == pytest.approx((real["davis"]["j"] + real["davis"]["f"]) / 2)
    assert "J&F (DAVIS) mean" in (tmp_path / "out/vpo_ss_test/report.md").read_text()


def test_boxes_are_scored_as_boxes_and_never_as_masks(runs: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "data", "vggss_extended", {"test": 3})
    report = evaluated(
        runs, tmp_path / "out", "masks", tmp_path / "data", "--task", "vggss_extended"
    )
    assert set(report["scores"]["real"]) == {"localisation", "extended"}
    assert "miou" not in report
    assert "fscore" not in report
    assert report["ciou"] == report["scores"]["real"]["localisation"]["ciou"]
    assert set(report["floors"]) == {"middle"}
    header, *lines = (tmp_path / "out/vggss_extended_test/clips.csv").read_text().splitlines()
    assert header.startswith(
        "name,category,frames,sounding_frames,ciou,confidence,ciou_silent,ciou_shuffled"
    )
    assert len(lines) == 6
    assert "maps against boxes" in (tmp_path / "out/vggss_extended_test/report.md").read_text()


def test_the_other_sets(runs: Path, tmp_path: Path) -> None:
    for name, split, metric, limit in (
        ("is3", "test", "interactive", 4),
        ("is3_boxes", "test", "interactive", 4),
        ("aviseg", "val", "temporal", 2),
        ("refavs", "test_s", "avsbench", 3),
    ):
        write_set(tmp_path / name, name)
        more = ("--task", name, "--split", split, "--limit", str(limit))
        report = evaluated(runs, tmp_path / f"{name}-out", "masks", tmp_path / name, *more)
        assert report["about"]["clips"] == limit
        assert report["scores"]["real"][metric] is not None


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("refavs", ["--split", "test_n"], "has no masks: scores need a split with ground truth"),
        (
            "refavs",
            ["--split", "test_s", "--metrics", "[extended]"],
            "single pictures, not clips of 5 frames",
        ),
        ("vpo_ss", ["--split", "tset"], "no clip has split 'tset'; choose from train, val, test"),
        ("vpo_ss", ["--save_predictions", "masks"], "does not say where its clips' files are"),
    ],
)
def test_mistakes_are_one_line(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    words: list[str],
    message: str,
) -> None:
    write_set(tmp_path / "data", name)
    start = [
        "evaluate",
        "--checkpoint",
        str(runs / "masks-001"),
        "--data",
        str(tmp_path / "data"),
        "--task",
        name,
    ]
    assert main([*start, "--device", "cpu", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("ecmvae: error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_sets_that_cannot_train_say_so(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "is3", "is3")
    start = [
        "train",
        "--config",
        str(DEBUG),
        "--train.out",
        str(tmp_path / "runs"),
        "--train.device",
        "cpu",
    ]
    assert main([*start, "--data.name", "is3", "--data.root", str(tmp_path / "is3")]) == 2
    assert "no clip has split 'train'; choose from test" in capsys.readouterr().err
    assert (
        main([*start, "--data.name", "aviseg", "--data.root", "x", "--model.num_classes", "27"])
        == 2
    )
    assert "data.name=aviseg does not have" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "is3" / "images")
    assert main(["check-data", str(tmp_path / "is3")]) == 2
    assert "missing" in capsys.readouterr().out
