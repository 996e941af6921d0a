"""Refuse weights that were trained on the pictures or recordings which this run's fold of AVS-Collage holds out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.foreign_text import read_yaml
from ecmvae.hub.find import find_model_folder
from ecmvae.hub.folder import read_model_folder


def check_folds(config: Config) -> None:
    """Compare the fold of ``model.audio.weights`` and of ``train.initial_checkpoint`` with that of ``config.data``.

    A folder of `ecmvae train-audio` that names no fold counts as trained on the class table's split. A single file,
    such as VGGish's, may be used with any fold.

    Raises:
        UserError: If they were trained on another fold, or on the class table's own split.
    """
    data = config.data
    if data.name != "collage":
        return
    wanted = (data.fold, data.folds)
    if (folder := config.model.audio.weights) is not None and (
        Path(folder) / "config.yaml"
    ).is_file():
        settings: Any = read_yaml(Path(folder) / "config.yaml")
        if (
            isinstance(settings, dict)
            and (heard := (settings.get("fold", 0), settings.get("folds", 0))) != wanted
        ):
            remedy = "ecmvae train-audio --folds {1} --fold {0} makes a suitable one".format(
                *wanted
            )
            raise UserError(
                f"model.audio.weights={folder} heard {_name(*heard)}, not {_name(*wanted)}: {remedy}"
            )
    if (source := config.train.initial_checkpoint) is not None:
        seen = read_model_folder(find_model_folder(source), trust_code=True).config.data
        if seen.name == "collage" and (seen.fold, seen.folds) != wanted:
            raise UserError(
                f"train.initial_checkpoint={source} was trained on {_name(seen.fold, seen.folds)}, not on "
                f"{_name(*wanted)}: it has seen what is held out here; set data.fold and data.folds to its own"
            )


def _name(fold: int, folds: int) -> str:
    return f"fold {fold} of {folds} (counted from 0)" if folds else "the class table's split"
