"""A model is a folder: config.yaml + model.safetensors + metadata.json (+ README.md, its card).

A folder is found by its path, by a name or on the hub (``hf://owner/name``), see `ecmvae.hub`. Nothing
is unpickled, and a folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ecmvae.config import Config, ModelConfig, by_dotted_name, load_config
from ecmvae.errors import UserError
from ecmvae.hub.client import HubAddress, fetch, looks_like_repository, sha256_of
from ecmvae.hub.named_models import (
    CARD_FILE,
    CONFIG_FILE,
    METADATA_FILE,
    MODEL_FILES,
    WEIGHTS_FILE,
    did_you_mean,
    named_models,
)
from ecmvae.models import Segmenter, build_model
from ecmvae.weight_files import write_weight_file

_NOT_IN_THE_WEIGHTS = ("weights", "frozen", "source", "shared_divergence", "js_samples", "weak_posterior")
"""Last parts of the keys below `model` that any network of the same shape may change."""


def save_model(
    model: Segmenter,
    folder: str | Path,
    config: Config,
    metadata: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
    card: str | None = None,
) -> Path:
    """Write a model folder, atomically; an older one of that name is replaced.

    Args:
        model: Its whole state is saved, the audio encoder's too.
        folder: Where to.
        config: The configuration that built the model.
        metadata: Anything worth keeping beside it, as JSON: scores, seed, versions.
        half: Store floating-point numbers in 16 bits: half the size. `load_model` makes 32 bits of them again.
        card: Text of its README.md; None = none.

    Returns:
        The folder.

    Raises:
        UserError: When something else than a model lies there (nothing is replaced but an older model), or when a
            weight is too large for 16 bits.
        OSError: When it cannot be written; an older model is left as it was.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG_FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no model folder: choose another name for the model")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        write_weight_file(_halved(state) if half else state, temporary / WEIGHTS_FILE)
        (temporary / WEIGHTS_FILE).chmod(0o644)  # safetensors keeps its files to their owner
        (temporary / CONFIG_FILE).write_text(config.to_yaml(), encoding="utf-8")
        told = {**(metadata or {}), **({"class_names": model.class_names} if model.class_names else {})}
        (temporary / METADATA_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        if card is not None:
            (temporary / CARD_FILE).write_text(card, encoding="utf-8")
        temporary.chmod(0o755)
        _put(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def _put(new: Path, folder: Path) -> None:
    """Rename a folder over an older one, which is away for the blink between two renames, not while it is deleted."""
    if not folder.exists():
        new.replace(folder)
        return
    retired = new.with_name(f"{new.name}.old")
    folder.replace(retired)
    try:
        new.replace(folder)
    except OSError:
        retired.replace(folder)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def load_model(path: str | Path, device: torch.device | str = "cpu") -> Segmenter:
    """Read a model folder.

    Args:
        path: The folder, a run folder that holds it as ``best``, a name of `ecmvae models`, or
            ``hf://owner/name[@revision]`` on the hub.
        device: Where the model is to live.

    Returns:
        The model in eval mode and in 32 bits, with its `config`.

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
    if misfits := _misfits(model.state_dict(), state):
        raise UserError(
            f"{folder / WEIGHTS_FILE} is a checkpoint of another config than {folder / CONFIG_FILE}: {misfits}"
        )
    model.load_state_dict(state)
    model.config = config
    model.class_names = _class_names(folder / METADATA_FILE)
    return model.to(device).eval()


def initial_model(config: Config) -> Segmenter:
    """The model that a run starts with.

    Args:
        config: The run's. Where ``train.initial_checkpoint`` is set, all weights come from there.

    Returns:
        The network of ``config.model``, in training mode.

    Raises:
        UserError: When the weights cannot be had, or the trained model is another network.
    """
    source, size = config.train.initial_checkpoint, config.data.image_size
    if source is None:
        return build_model(config.model, image_size=size)
    trained = load_model(source)
    network = _without_weights(config.model)
    state = trained.state_dict()
    if trained.audio_encoder is None:
        network = replace(network, audio=config.model.audio)
        model = build_model(network, image_size=size)
        state |= {name: value for name, value in model.state_dict().items() if name.startswith("audio_encoder.")}
    else:
        model = build_model(network, image_size=size, with_audio_encoder=True)
    if misfits := _misfits(model.state_dict(), state):
        why = _differences(trained.config, config) or misfits
        raise UserError(f"train.initial_checkpoint={source} is another network ({why}): give both the same settings")
    model.load_state_dict(state)
    return model


def find_model_folder(path: str | Path, *, local_only: bool = False, token: str | bool | None = None) -> Path:
    """The folder of a model: a path comes before a name, and only ``hf://`` or a name that stands for it is fetched.

    Args:
        path: See `load_model`.
        local_only: Fetch nothing; a model of the hub must be in the cache.
        token: For a private repository on the hub.

    Raises:
        UserError: When there is none, with the nearest name that there is.
    """
    asked, folder = str(path), Path(path)
    if address := HubAddress.parse(asked):
        folder = fetch(address, MODEL_FILES, local_only=local_only, token=token)
    elif not folder.exists():
        named = named_models().get(asked)
        if named is None:
            raise UserError(f"checkpoint not found: {_nearby(folder)}")
        return named.folder(local_only=local_only)
    for candidate in (folder, folder / "best"):
        if (candidate / CONFIG_FILE).is_file() and (candidate / WEIGHTS_FILE).is_file():
            return candidate
    raise UserError(
        f"{asked} is not a model folder: it needs {CONFIG_FILE} and {WEIGHTS_FILE} (ecmvae train writes both to "
        "RUN/best)"
    )


def weights_sha256(path: str | Path) -> str:
    """SHA-256 of a model folder's weights, as hexadecimal digits."""
    return sha256_of(find_model_folder(path) / WEIGHTS_FILE)


def _nearby(missing: Path) -> str:
    """The path that does not exist, and what may have been meant."""
    siblings = missing.parent.iterdir() if missing.parent.is_dir() else ()
    prefix = "" if missing.parent == Path() else f"{missing.parent}/"
    hint = did_you_mean(str(missing), tuple(f"{prefix}{each.name}" for each in siblings if each.is_dir()))
    if looks_like_repository(str(missing)) and "did you mean" not in hint:
        hint += f"; a repository of the hub is written hf://{missing}"
    return f"{missing}{hint}"


def _halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    lost = [name for name, tensor in halved.items() if not tensor.isfinite().all() and state[name].isfinite().all()]
    if lost:
        raise UserError(f"{len(lost)} tensors hold numbers too large for 16 bits ({lost[0]}): save them in 32")
    return halved


def _class_names(metadata: Path) -> tuple[str, ...]:
    """Names of the classes, where the model folder tells them."""
    if not metadata.is_file():
        return ()
    try:
        return tuple(json.loads(metadata.read_text(encoding="utf-8")).get("class_names", ()))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{metadata} is damaged: {error}: copy the model folder again") from error


def _misfits(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> str:
    """How a state differs from a network's own in names and shapes; empty where it fits."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if not (missing or unexpected or wrong):
        return ""
    return (
        f"{len(missing)} tensors missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, "
        f"{len(wrong)} of another shape {wrong[:3]}"
    )


def _differences(trained: Config, wanted: Config) -> str:
    """Settings of the network that are not the same, such as "model.channels is 32 there and 128 here"."""
    there, here = (
        {"data.image_size": config.data.image_size, **by_dotted_name(asdict(config.model), "model.")}
        for config in (trained, wanted)
    )
    odd = [key for key in here if there[key] != here[key] and key.rpartition(".")[2] not in _NOT_IN_THE_WEIGHTS]
    return ", ".join(f"{key} is {there[key]} there and {here[key]} here" for key in odd)


def _without_weights(config: ModelConfig) -> ModelConfig:
    """The same network, without fetching the files it was once initialised from: the folder holds all weights."""
    return replace(config, visual=replace(config.visual, weights=None), audio=replace(config.audio, weights=None))
