"""Weights of another fold are refused: they have heard or seen what this run holds out."""

from pathlib import Path

import pytest
import yaml

from ecmvae.config import load_config
from ecmvae.errors import UserError
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model
from ecmvae.training.leaks import check_folds


@pytest.mark.parametrize(
    ("audio", "fold", "says"),
    [
        ({"folds": 5, "fold": 2}, (2, 5), None),
        (
            {"folds": 5, "fold": 2},
            (1, 5),
            "heard fold 2 of 5 .* not fold 1 of 5 .* train-audio --folds 5 --fold 1",
        ),
        ({"folds": 5, "fold": 2}, (0, 0), "heard fold 2 of 5 .* not the class table's split"),
        ({}, (1, 5), "heard the class table's split"),
        ({}, (0, 0), None),
    ],
)
def test_audio_weights(
    audio: dict[str, int], fold: tuple[int, int], says: str | None, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"name": "vggish_small", **audio}))
    settings = {"data.name": "collage", "data.fold": fold[0], "data.folds": fold[1]}
    config = load_config((), {**settings, "model.audio.weights": str(tmp_path)})
    if says is None:
        check_folds(config)
    else:
        with pytest.raises(UserError, match=says):
            check_folds(config)
    check_folds(load_config((), {**settings, "model.audio.weights": str(tmp_path / "vggish.pth")}))


def test_a_trained_model(tmp_path: Path) -> None:
    small = {
        "model.visual.name": "efficientnet_lite0",
        "model.audio.name": "vggish_small",
        "model.channels": 8,
    }
    of_fold = {
        **small,
        "data.name": "collage",
        "data.folds": 4,
        "data.fold": 3,
        "data.image_size": 32,
    }
    config = load_config((), of_fold)
    save_model(
        build_model(config.model, image_size=32, with_audio_encoder=True),
        tmp_path / "model",
        config,
    )
    initial = {"train.initial_checkpoint": str(tmp_path / "model")}
    check_folds(load_config((), {**of_fold, **initial}))
    check_folds(load_config((), {**small, **initial, "data.name": "synthetic"}))
    with pytest.raises(
        UserError, match=r"was trained on fold 3 of 4 .* not on the class table's split"
    ):
        check_folds(load_config((), {**small, **initial, "data.name": "collage"}))
