"""What a folder of a trained VAE holds beside its weights: config.yaml and metadata.json."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import yaml

from ecmvae.data.mnist import EVENT_SHAPES
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import read_json, short
from ecmvae.hub.named_models import METADATA_FILE
from ecmvae.training.vae_data import CLASSES, DataFacts
from ecmvae.training.vae_settings import FOLDER, DataSettings, VAEConfig
from ecmvae.vae.zoo import Model, build_vae

MAX_VALUES = 64_000_000
"""Numbers of one sample that a foreign folder may ask for."""


def config_text(config: VAEConfig) -> str:
    """A configuration as YAML."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def metadata_of(facts: DataFacts, config: VAEConfig) -> dict[str, Any]:
    """What metadata.json holds."""
    return {
        "kind": "vae",
        "event_shape": list(facts.event_shape),
        "conditions": {name: list(columns) for name, columns in facts.conditions.items()},
        "data": f"{FOLDER}:{config.data.root}" if config.data.name == FOLDER else config.data.name,
    }


def facts_of(folder: Path, settings: DataSettings) -> DataFacts:
    """The facts in a folder's metadata.json; without one, those of an image set.

    Raises:
        UserError: If the file is malformed, or missing where it is needed.
    """
    path = folder / METADATA_FILE
    if not path.is_file():
        if settings.name == FOLDER:
            raise UserError(f"{show_path(path)} is missing: copy it from the run, or train again")
        shape: tuple[int, ...] = EVENT_SHAPES[settings.name]  # type: ignore[index]  # checked by DataSettings
        if settings.pad_to:
            shape = (*shape[:-2], settings.pad_to, settings.pad_to)
        return DataFacts(event_shape=shape, conditions={"label": tuple(map(str, range(CLASSES)))})
    content = read_json(path)
    if not (
        isinstance(content, dict)
        and _is_shape(content.get("event_shape"))
        and _are_names(content.get("conditions"))
    ):
        raise UserError(
            f"{show_path(path)} is not that of a model of ecmvae vae ({short(content)}): train it again"
        )
    return DataFacts(
        event_shape=tuple(content["event_shape"]),
        conditions={name: tuple(columns) for name, columns in content["conditions"].items()},
    )


def build_model(config: VAEConfig, facts: DataFacts) -> Model:
    """The model of a configuration for such data; raises a `UserError` when the two do not fit together."""
    try:
        return build_vae(config.model, facts.event_shape, facts.classes)
    except ValueError as error:
        raise UserError(str(error)) from None


def _is_shape(value: Any) -> bool:
    whole = isinstance(value, list) and all(type(each) is int and each > 0 for each in value)
    return whole and len(value) in (3, 4) and math.prod(value) <= MAX_VALUES


def _are_names(value: Any) -> bool:
    tables = isinstance(value, dict) and all(
        isinstance(each, list) and each for each in value.values()
    )
    return tables and all(isinstance(column, str) for each in value.values() for column in each)
