"""`ecmvae evaluate` from paths to reports, with a tiny untrained model."""

import csv
import json

import pytest

from ecmvae.config import config_from_dict
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.errors import UserError
from ecmvae.evaluation.command import evaluate as evaluate_command
from ecmvae.hub.find import weights_sha256
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model

CONFIG = config_from_dict(
    {
        "model": {
            "visual": {"name": "efficientnet_lite0"},
            "audio": {"name": "vggish_small"},
            "channels": 16,
        },
        "data": {"image_size": 32, "hop_seconds": 1.0},
    }
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "best"
    model = build_model(CONFIG.model, image_size=32, with_audio_encoder=True)
    return save_model(model, folder, CONFIG)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """S4-like and MS3-like clips with known objects, at the model's size."""
    folder = tmp_path_factory.mktemp("root")
    for task in ("s4", "ms3"):
        write_miniature(folder, task, {"test": 3}, source=ShapeScenes(task, 32), composed=True)
    return folder


def read(folder):
    return json.loads((folder / "report.json").read_text())


def test_model_then_its_saved_masks_score_the_same(checkpoint, root, tmp_path, capsys):
    out, masks = tmp_path / "out", tmp_path / "masks"
    run = {"data": str(root), "device": "cpu", "out": str(out)}
    evaluate_command(
        str(checkpoint.parent), save_predictions=str(masks), visual_only=str(checkpoint), **run
    )
    evaluate_command(predictions=str(masks), **run)  # a second report does not touch the first
    printed = capsys.readouterr().out
    assert "s4 test, 3 clips" in printed
    assert "visual only" in printed
    for task in ("s4", "ms3"):
        model, pictures = read(out / f"{task}_test"), read(tmp_path / "out-2" / f"{task}_test")
        assert model["about"]["sha256"] == weights_sha256(checkpoint)
        assert model["about"]["config"]["data"]["image_size"] == 32
        assert {"real", "silent", "shuffled"} == set(model["scores"])
        assert set(model["floors"]) == {
            *("all_background", "all_foreground", "all_objects", "random_object", "visual_only"),
        }
        # 8 bits keep every decision at 0.5, and the curve to within their rounding.
        assert pictures["miou"] == pytest.approx(model["miou"], abs=1e-6)
        assert pictures["fscore"] == pytest.approx(model["fscore"], abs=0.01)
        with (out / f"{task}_test" / "clips.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 3


def test_one_task_few_clips(checkpoint, root, tmp_path):
    out = tmp_path / "out"
    evaluate_command(
        str(checkpoint),
        str(root),
        task="ms3",
        limit=2,
        device="cpu",
        robustness=True,
        snr=6.0,
        out=str(out),
        metrics=["dataset", "ecmvae.metrics.right_of_two:RightOfTwo"],
    )
    assert [folder.name for folder in out.iterdir()] == ["ms3_test"]
    report, robust = (
        read(out / "ms3_test"),
        json.loads((out / "ms3_test/robustness.json").read_text()),
    )
    assert set(report["scores"]["real"]) == {"per_clip", "dataset", "right_of_two"}
    assert report["about"]["clips"] == robust["conditions"]["noise"]["clips"] == 2
    assert robust["settings"]["snr_db"] == 6.0
    assert robust["conditions"]["original"]["miou"] == pytest.approx(report["miou"], abs=1e-6)
    assert robust["audio_gain"] == pytest.approx(report["audio_gain"]["silent"], abs=1e-6)


def test_one_clip_gives_numbers_and_says_what_it_cannot_give(
    checkpoint, root, tmp_path, caplog, capsys
):
    out = tmp_path / "out"
    evaluate_command(
        str(checkpoint), str(root), task="s4", limit=1, device="cpu", robustness=True, out=str(out)
    )
    report = read(out / "s4_test")
    assert list(report["scores"]) == ["real", "silent"]
    assert report["about"]["clips"] == 1
    assert "shuffled sound" in report["about"]["left_out"]
    assert "no other whose sound" in (out / "s4_test/report.md").read_text()
    assert "left out: shuffled sound" in caplog.text
    assert "s4 test, 1 clip (fractions)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "DATA"}, "say what to score"),
        ({"data": "DATA", "checkpoint": "a", "predictions": "b"}, "say what to score"),
        ({"checkpoint": "CHECKPOINT"}, "say on which data"),
        ({"checkpoint": "CHECKPOINT", "data": "EMPTY"}, "holds none of"),
        ({"checkpoint": "EMPTY", "data": "DATA"}, "not a model folder"),
        ({"checkpoint": "CHECKPOINT", "data": "DATA", "split": "tset"}, "choose from test"),
        ({"predictions": "nowhere", "data": "DATA"}, "no such folder of predictions"),
        ({"predictions": "EMPTY", "data": "DATA"}, "no prediction for clip"),
        (
            {"predictions": "EMPTY", "data": "DATA", "robustness": True},
            "needs a model that can listen",
        ),
        ({"checkpoint": "CHECKPOINT", "data": "DATA", "limit": 0}, "limit=0"),
    ],
)
def test_mistakes_write_nothing(checkpoint, root, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"DATA": str(root), "CHECKPOINT": str(checkpoint), "EMPTY": str(tmp_path / "empty")}
    arguments = {key: places.get(value, value) for key, value in arguments.items()}
    with pytest.raises(UserError, match=message):
        evaluate_command(**arguments, device="cpu", out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
