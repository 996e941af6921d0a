"""Read and write model folders: config.yaml, model.safetensors, metadata.json and README.md, the model card.

Nothing is unpickled, no code that a folder names is imported unless it is trusted, and a folder is written completely
or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ecmvae.config import Config, config_from_dict
from ecmvae.config_reader import read_yaml
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.foreign_text import read_json, short
from ecmvae.hub.class_names import class_names_in
from ecmvae.hub.named_models import CARD_FILE, CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE
from ecmvae.registry import is_import_path
from ecmvae.weight_files import write_weight_file

_PATHS = ("weights", "root", "out", "initial_checkpoint")
"""Settings that hold a path or an address, and never the name of a class."""


@dataclass(frozen=True)
class StoredModel:
    """Content of a model folder: its path, configuration, tensors (in 16 or 32 bits) and metadata.json."""

    folder: Path
    config: Config
    state: dict[str, Tensor]
    metadata: dict[str, Any]

    @property
    def architectures(self) -> Mapping[str, Mapping[str, Any]]:
        """What the folder says of its foundation models.

        Raises:
            UserError: If that is something other than mappings.
        """
        known: Any = self.metadata.get("architectures", {})
        parts = list(known.values()) if isinstance(known, dict) else [None]
        inner = [
            each.get(key)
            for each in parts
            if isinstance(each, dict)
            for key in ("network", "preprocessor")
        ]
        if not all(isinstance(each, dict) for each in (*parts, *inner)):
            raise UserError(
                f"{self.folder}: architectures in metadata.json must be mappings: write the model again"
            )
        found: Mapping[str, Mapping[str, Any]] = known
        return found


def read_model_folder(folder: Path, *, trust_code: bool = False) -> StoredModel:
    """Read a model folder.

    Args:
        folder: As `ecmvae.hub.find.find_model_folder` returns it.
        trust_code: Accept a configuration that names classes by import path, whose code is run when the model is built.

    Raises:
        UserError: If a file is damaged, or the configuration names code and `trust_code` is False.
    """
    # a foreign folder names no base files to read
    config = config_from_dict(read_yaml(folder / CONFIG_FILE))
    code = sorted(code_in(config))
    if code and not trust_code:
        raise UserError(
            f"{folder / CONFIG_FILE} names code by import path ({', '.join(code)}): "
            "pass trust_code=True / --trust_code if you trust it"
        )
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except Exception as error:
        raise UserError(
            f"{folder / WEIGHTS_FILE} is damaged: {error}: copy or train it again"
        ) from error
    return StoredModel(folder, config, state, _read_metadata(folder / METADATA_FILE))


def code_in(config: Config) -> set[str]:
    """The import paths ``package.module:Class`` that a configuration names."""
    return set(_import_paths(config.to_dict()))


def write_model_folder(
    folder: str | Path,
    state: Mapping[str, Tensor],
    config: Config,
    metadata: Mapping[str, Any],
    *,
    half: bool = False,
    card: str | None = None,
) -> Path:
    """Write the model folder of a segmentation network; see `write_folder`, which takes its configuration as text."""
    return write_folder(folder, state, config.to_yaml(), metadata, half=half, card=card)


def write_folder(
    folder: str | Path,
    state: Mapping[str, Tensor],
    config: str,
    metadata: Mapping[str, Any],
    *,
    half: bool = False,
    card: str | None = None,
) -> Path:
    """Write a model folder atomically; an older one of that name is replaced.

    Args:
        folder: Its path.
        state: The network's tensors by name.
        config: The configuration that built the network, as YAML.
        metadata: What else to keep, as JSON.
        half: Store floating-point numbers in 16 bits: half the size.
        card: Text of README.md; None = none.

    Returns:
        The folder.

    Raises:
        UserError: If something other than a model lies there, or a weight is too large for 16 bits.
        OSError: If it cannot be written; an older model is left as it was.
    """
    folder = Path(folder)
    if (
        folder.exists()
        and not (folder / CONFIG_FILE).is_file()
        and (folder.is_file() or any(folder.iterdir()))
    ):
        raise UserError(
            f"{folder} exists and is not a model folder: choose another name for the model"
        )
    with replacing(folder) as temporary:
        temporary.mkdir()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        write_weight_file(_halved(state) if half else state, temporary / WEIGHTS_FILE)
        (temporary / CONFIG_FILE).write_text(config, encoding="utf-8")
        (temporary / METADATA_FILE).write_text(
            json.dumps(dict(metadata), indent=2) + "\n", encoding="utf-8"
        )
        if card is not None:
            (temporary / CARD_FILE).write_text(card, encoding="utf-8")
    return folder


def _halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    halved = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    lost = [
        name
        for name, tensor in halved.items()
        if not tensor.isfinite().all() and state[name].isfinite().all()
    ]
    if lost:
        raise UserError(
            f"{len(lost)} tensors hold numbers too large for 16 bits ({lost[0]}): save them in 32"
        )
    return halved


def _read_metadata(file: Path) -> dict[str, Any]:
    """The content of metadata.json; empty without one."""
    if not file.is_file():
        return {}
    metadata = read_json(file)
    if not isinstance(metadata, dict):
        raise UserError(
            f"{file} must hold a mapping, not {short(metadata)}: copy the model folder again"
        )
    class_names_in(metadata, str(file))
    return metadata


def _import_paths(value: Any) -> Iterator[str]:
    """The import paths in nested settings; keys count too (`LossConfig.extra`)."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _import_paths(key)
            if key not in _PATHS:
                yield from _import_paths(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _import_paths(each)
    elif isinstance(value, str) and is_import_path(value):
        yield value
