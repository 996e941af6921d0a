"""`ecmvae evaluate --folds`: each model on what its own fold held out, pooled with intervals by picture."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from collage_fixture import make_sources

from ecmvae.cli import main
from ecmvae.config import Config, config_from_dict
from ecmvae.data.collage.items import FORMAT
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.table import packaged_table
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.evaluation.folds import (
    ROWS,
    FoldSettings,
    _clips,
    check_models,
    evaluate_folds,
    models_in,
)
from ecmvae.evaluation.robustness import RobustnessSettings, robustness
from ecmvae.metrics.by_picture import ByPicture
from ecmvae.models import Segmenter, build_model
from ecmvae.models.checkpoint import save_model

SETTINGS = FoldSettings(clips=2, photographs=4, wrong_sounds=2, switches=1, progress=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    make_sources(folder / f"sources-{FORMAT}-{packaged_table().digest[:12]}", photographs=True)
    return folder


@pytest.fixture(scope="module")
def config(cache: Path) -> Config:
    return config_from_dict(
        {
            "model": {
                "visual": {"name": "efficientnet_lite0"},
                "audio": {"name": "vggish_small"},
                "channels": 8,
            },
            "data": {"name": "collage", "root": str(cache), "folds": 3, "image_size": 32},
        }
    )


@pytest.fixture(scope="module")
def models(config: Config) -> dict[str, Segmenter]:
    torch.manual_seed(0)
    found = {}
    for fold in (0, 2):
        model = build_model(config.model, image_size=32, with_audio_encoder=True)
        model.config = replace(config, data=replace(config.data, fold=fold))
        found[f"fold_{fold}"] = model
    return found


def test_every_model_is_scored_on_its_own_fold(models: dict[str, Segmenter], cache: Path) -> None:
    sources = CollageSources.fetch(cache)
    report = evaluate_folds(models, sources, SETTINGS)
    assert set(report.rows) == set(ROWS)
    for row, split in ROWS.items():
        pictures: set[str] = set()
        for fold in (0, 2):
            own = sources.fold(fold, 3)
            name = f"fold_{fold}"
            clips = [_clips(models[name], sources, split, SETTINGS)[index] for index in range(2)]
            for clip in clips:
                pool = own.images(
                    clip.category, held_out=split in ("test_unseen", "test_unseen_image")
                )
                assert clip.picture in pool
                assert clip.recording in own.sounds(
                    clip.category, held_out="unseen" in split and "image" not in split
                )
            pictures |= {clip.picture for clip in clips}
        pooled = report.rows[row]
        assert pooled.clips == 4
        assert pooled.pictures == len(pictures)
        parts = [report.folds[name][row].miou.value for name in models]
        assert pooled.miou.value == pytest.approx(sum(parts) / 2)  # of equally many clips
    # The evaluator on the same clips says the same; the last ones are those of fold 2, both new.
    plain = EvaluateSettings(sounds=("real",), progress=False)
    alone = evaluate(models["fold_2"], clips, plain, metrics=[ByPicture, "right_of_two"]).scores[
        "real"
    ]
    assert report.folds["fold_2"]["both new"].miou == pytest.approx(alone.by_picture.miou)
    assert report.folds["fold_2"]["both new"].right_of_two.value == pytest.approx(
        alone.right_of_two
    )
    assert report.uncertainty["known"].calibration_error_in_objects is not None
    # Of as many clips of each model as the robustness report has.
    how = RobustnessSettings(progress=False, conditions=("speech",))
    known = {name: _clips(model, sources, "test_seen", SETTINGS) for name, model in models.items()}
    reports = [robustness(model, known[name], how) for name, model in models.items()]
    assert set(report.false_masks) >= {"silence", "noise_alone", "speech", "music"}
    assert report.latency is not None
    assert report.latency.clips == 2  # one of each model
    for sound in ("silence", "speech"):
        shares = [each.conditions[sound].false_masks for each in reports]
        assert report.false_masks[sound].value == pytest.approx(sum(shares) / 2)
    assert report.photographs is not None
    assert report.photographs.pairs == 8
    assert report.about["scored_folds"] == [0, 2]
    # every drawn class has two or three
    assert report.about["never_held_out"] == {"image": 0, "sound": 0}


def test_the_command(
    config: Config, models: dict[str, Segmenter], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, model in models.items():
        save_model(model, tmp_path / "runs" / name / "best", model.config or config)
    (tmp_path / "runs" / "notes.txt").touch()
    words = [
        "evaluate",
        "--limit",
        "1",
        "--photographs",
        "2",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--folds", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "2 model(s), 1 clips a row each" in shown
    assert "ECE in objects" in shown
    assert "clips with a false mask under silence: " in shown
    assert "4 pairs of 2 photographs: right of two" in shown
    assert all(row in shown for row in ROWS)
    report = json.loads((tmp_path / "out" / "folds" / "report.json").read_text())
    assert report["rows"]["both new"]["clips"] == 2
    assert report["photographs"]["pairs"] == 4
    assert set(report["folds"]) == set(report["about"]["models"]) == set(models)
    assert main([*words, "--folds", str(tmp_path / "runs" / "fold_2")]) == 0
    single = json.loads((tmp_path / "out-2" / "folds" / "report.json").read_text())
    assert single["about"]["scored_folds"] == [2]
    assert single["rows"] == report["folds"]["fold_2"]
    capsys.readouterr()
    assert main([*words, "--folds", str(tmp_path), "--robustness"]) == 2
    assert "--robustness has no effect on --folds" in capsys.readouterr().err
    assert main(["evaluate", "--checkpoint", str(tmp_path), "--photographs", "2"]) == 2
    assert "--photographs has no effect without --folds" in capsys.readouterr().err


def test_models_that_do_not_belong_together(
    models: dict[str, Segmenter], config: Config, tmp_path: Path
) -> None:
    def trained(**data: object) -> Segmenter:
        model = build_model(config.model, image_size=32)
        model.config = replace(config, data=replace(config.data, **data))
        return model

    one = models["fold_2"]
    with pytest.raises(UserError, match="b and a hold out the same fold"):
        check_models({"a": one, "b": trained(fold=2)})
    with pytest.raises(UserError, match="not of one cross-validation"):
        check_models({"a": one, "b": trained(fold=1, folds=2)})
    with pytest.raises(UserError, match="b was not trained on AVS-Collage"):
        check_models({"a": one, "b": trained(name="synthetic", folds=0)})
    with pytest.raises(UserError, match="not a model folder"):
        models_in(tmp_path)
    with pytest.raises(UserError, match="clips must be from 1"):
        FoldSettings(clips=0)
