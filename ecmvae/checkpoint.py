"""A model is a folder: config.yaml + model.safetensors + metadata.json.

Nothing is unpickled, and a folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ecmvae.config import Config, ModelConfig, load_config
from ecmvae.errors import UserError
from ecmvae.models import Segmenter, build_model

CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE = "config.yaml", "model.safetensors", "metadata.json"


def save_model(model: Segmenter, folder: str | Path, config: Config, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write a model folder, atomically; an older one of that name is replaced.

    Args:
        model: Its whole state is saved, the audio encoder's too.
        folder: Where to.
        config: The configuration that built the model.
        metadata: Anything worth keeping beside it, as JSON: scores, seed, versions.

    Returns:
        The folder.

    Raises:
        UserError: When something else than a model lies there: nothing is replaced but an older model.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG_FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no model folder: choose another name for the model")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, temporary / WEIGHTS_FILE)
        (temporary / CONFIG_FILE).write_text(config.to_yaml(), encoding="utf-8")
        told = {**(metadata or {}), **({"class_names": model.class_names} if model.class_names else {})}
        (temporary / METADATA_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def load_model(path: str | Path, device: torch.device | str = "cpu") -> Segmenter:
    """Read a model folder.

    Args:
        path: The folder, or a run folder that holds it as ``best``.
        device: Where the model is to live.

    Returns:
        The model in eval mode, with its `config`.

    Raises:
        UserError: When the folder is missing or incomplete, or its weights are not those of its configuration.
    """
    folder = find_model_folder(path)
    config = load_config(folder / CONFIG_FILE)
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except Exception as error:
        raise UserError(f"{folder / WEIGHTS_FILE} is damaged: {error}: copy or train it again") from error
    with_audio = any(name.startswith("audio_encoder.") for name in state)
    model = build_model(
        _without_weights(config.model), image_size=config.data.image_size, with_audio_encoder=with_audio
    )
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or unexpected or wrong:
        raise UserError(
            f"{folder / WEIGHTS_FILE} is a checkpoint of another config than {folder / CONFIG_FILE}: "
            f"{len(missing)} tensors missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, "
            f"{len(wrong)} of another shape {wrong[:3]}"
        )
    model.load_state_dict(state)
    model.config = config
    model.class_names = _class_names(folder / METADATA_FILE)
    return model.to(device).eval()


def find_model_folder(path: str | Path) -> Path:
    """The model folder at `path`: itself, or its ``best`` when it is a run folder.

    Raises:
        UserError: When there is none.
    """
    folder = Path(path)
    for candidate in (folder, folder / "best"):
        if (candidate / CONFIG_FILE).is_file() and (candidate / WEIGHTS_FILE).is_file():
            return candidate
    if not folder.exists():
        raise UserError(f"checkpoint not found: {folder}")
    raise UserError(
        f"{folder} is not a model folder: it needs {CONFIG_FILE} and {WEIGHTS_FILE} (ecmvae train writes both to "
        "RUN/best)"
    )


def weights_sha256(path: str | Path) -> str:
    """SHA-256 of a model folder's weights, as hexadecimal digits."""
    with (find_model_folder(path) / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _class_names(metadata: Path) -> tuple[str, ...]:
    """Names of the classes, where the model folder tells them."""
    if not metadata.is_file():
        return ()
    try:
        return tuple(json.loads(metadata.read_text(encoding="utf-8")).get("class_names", ()))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{metadata} is damaged: {error}: copy the model folder again") from error


def _without_weights(config: ModelConfig) -> ModelConfig:
    """The same network, without fetching the files it was once initialised from: the folder holds all weights."""
    return replace(config, visual=replace(config.visual, weights=None), audio=replace(config.audio, weights=None))
