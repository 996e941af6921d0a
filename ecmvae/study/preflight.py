"""Find before the first training what would stop a later one: unknown names, missing data and missing weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ecmvae.config import Config
from ecmvae.data.loading import load_clips
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluate_run import data_to_score, tasks_in
from ecmvae.losses.objective import Objective
from ecmvae.models import build_model
from ecmvae.models.base import without_weights
from ecmvae.models.skeleton import skeletons
from ecmvae.study.variants import Variant
from ecmvae.training.datamodule import build_datasets


def check_variants(variants: Sequence[Variant]) -> None:
    """Build every variant's network, without memory for its weights, its loss and its data.

    Raises:
        UserError: Naming the first variant that cannot be trained.
    """
    networks: list[object] = []
    data: list[object] = []
    for variant in variants:
        config = variant.config
        try:
            _check_weights(config)
            if (network := (config.model, config.loss, config.data.image_size)) not in networks:
                networks.append(network)
                _check_network(config)
            if config.data not in data:
                data.append(config.data)
                build_datasets(config)
        except UserError as error:
            raise UserError(f"variant {variant.name}: {error}") from error


def check_scoring(variants: Sequence[Variant], data: str | None, split: str, task: str) -> None:
    """Check that the clips are there that the runs are to be scored on.

    Raises:
        UserError: If the folder holds no known data set, or none of this task and split.
    """
    for name in tasks_in(data, task):
        read: list[object] = []
        for variant in variants:
            wanted = data_to_score(variant.config.data, name, data)
            if wanted in read:
                continue
            read.append(wanted)
            try:
                load_clips(wanted, split)
            except UserError as error:
                raise UserError(
                    f"scoring {variant.name} on {name}, split {split}: {error}"
                ) from error


def _check_weights(config: Config) -> None:
    for name, weights in (
        ("model.visual.weights", config.model.visual.weights),
        ("model.audio.weights", config.model.audio.weights),
        ("train.initial_checkpoint", config.train.initial_checkpoint),
    ):
        if (
            weights is not None
            and os.sep in weights
            and "://" not in weights
            and not Path(weights).exists()
        ):
            raise UserError(f"{name}={weights}: there is no such file or folder")


def _check_network(config: Config) -> None:
    with skeletons():
        build_model(without_weights(config.model), image_size=config.data.image_size)
    Objective.from_config(config)
