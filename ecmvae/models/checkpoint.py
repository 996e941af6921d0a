"""Load and save whole models, and build the model that a run starts with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from ecmvae.config import Config
from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError
from ecmvae.hub.concepts import ConceptsName
from ecmvae.hub.find import find_model_folder
from ecmvae.hub.folder import code_in, read_model_folder, write_model_folder
from ecmvae.models.base import Segmenter, build_model, without_weights
from ecmvae.weight_files import differences

_NOT_IN_THE_WEIGHTS = (
    "weights",
    "pretrained",
    "drop_path",
    "window",
    "frozen",
    "source",
    "shared_divergence",
    "js_samples",
    "weak_posterior",
)
"""Last parts of the keys below `model` that any network of the same shape may change."""


def load_model(
    path: str | Path, device: torch.device | str = "cpu", *, trust_code: bool = False
) -> Segmenter:
    """Load a model.

    Args:
        path: The folder, a run folder that holds it as ``best``, a name of `ecmvae models`,
            ``hf://owner/name[@revision]`` on the hub, or ``concepts``, see `ecmvae.hub.concepts`.
        device: Device of the model.
        trust_code: Import the classes that the model's configuration names by import path.

    Returns:
        The model in eval mode and in 32 bits, with its `config`.

    Raises:
        UserError: If the folder is missing or incomplete, its weights are not those of its configuration, or it names
            code that is not trusted.
    """
    if name := ConceptsName.parse(str(path)):
        from ecmvae.foundation.kept import default_folder
        from ecmvae.models.concepts import Concepts

        return Concepts.load(name, keep=default_folder()).to(device)
    return Segmenter.restore(read_model_folder(find_model_folder(path), trust_code=trust_code)).to(
        device
    )


def save_model(
    model: Segmenter,
    folder: str | Path,
    config: Config,
    metadata: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
    card: str | None = None,
) -> Path:
    """Write a model, including its audio encoder, with `ecmvae.hub.folder.write_model_folder`; see there.

    Args:
        model: Its whole state is saved.
        folder: Its path; an older model there is replaced.
        config: The configuration that built the model.
        metadata: What else to keep, as JSON: scores, seed, versions.
        half: Store floating-point numbers in 16 bits: half the size. `load_model` returns 32 bits.
        card: Text of its README.md; None = none.
    """
    everything = {**(metadata or {}), **model.metadata()}
    return write_model_folder(folder, model.state_dict(), config, everything, half=half, card=card)


def initial_model(config: Config) -> Segmenter:
    """Build the model that a run starts with, in training mode; ``train.initial_checkpoint`` may give its weights.

    Raises:
        UserError: If weights are not available, the trained model is another network, or there are no such
            ``train.frozen_parts``.
    """
    source, size = config.train.initial_checkpoint, config.data.image_size
    if source is None:
        if config.train.frozen_parts:
            raise UserError(
                "train.frozen_parts are taken from train.initial_checkpoint: give that too"
            )
        return build_model(config.model, image_size=size)
    stored = read_model_folder(find_model_folder(source), trust_code=True)
    if strange := code_in(stored.config) - code_in(config):
        raise UserError(
            f"train.initial_checkpoint={source} names code that this run does not: {', '.join(strange)}"
        )
    trained = Segmenter.restore(stored)
    if config.train.frozen_parts:
        return _with_parts_of(trained, config)
    state, known = trained.state_dict(), trained.architectures
    if trained.audio_encoder is None:
        network = replace(without_weights(config.model), audio=config.model.audio)
        model = build_model(network, image_size=size, architectures=known)
        state |= {
            name: value
            for name, value in model.state_dict().items()
            if name.startswith("audio_encoder.")
        }
    else:
        model = build_model(
            without_weights(config.model),
            image_size=size,
            with_audio_encoder=True,
            architectures=known,
        )
    if faults := differences(model.state_dict(), state):
        why = _differences(stored.config, config) or faults
        raise UserError(
            f"train.initial_checkpoint={source} is another network ({why}): give both the same settings"
        )
    model.load_state_dict(state)
    model.normalisation = trained.normalisation
    return model


def _with_parts_of(trained: Segmenter, config: Config) -> Segmenter:
    """A new model with ``train.frozen_parts`` of a trained one, which stay as they are."""
    hearing = any(part.partition(".")[0] == "audio_encoder" for part in config.train.frozen_parts)
    model = build_model(
        config.model,
        image_size=config.data.image_size,
        with_audio_encoder=hearing or None,
    )
    source, own = trained.state_dict(), model.state_dict()
    taken: dict[str, torch.Tensor] = {}
    for part in config.train.frozen_parts:
        try:
            attrgetter(part)(model)
        except AttributeError:
            raise UserError(f"train.frozen_parts: the network has no {part}") from None
        here, there = (
            {key: each[key] for key in each if f"{key}.".startswith(f"{part}.")}
            for each in (own, source)
        )
        if faults := differences(here, there):
            raise UserError(
                f"train.frozen_parts: {part} is another in {config.train.initial_checkpoint}: {faults}"
            )
        taken |= there
    model.load_state_dict(own | taken)
    model.freeze(config.train.frozen_parts)
    model.normalisation = trained.normalisation
    return model


def _differences(trained: Config, wanted: Config) -> str:
    """Settings of the network that are not the same, such as "model.channels is 32 there and 128 here"."""
    there, here = (
        {
            "data.image_size": config.data.image_size,
            **by_dotted_name(asdict(config.model), "model."),
        }
        for config in (trained, wanted)
    )
    odd = [
        key
        for key in here
        if there[key] != here[key] and key.rpartition(".")[2] not in _NOT_IN_THE_WEIGHTS
    ]
    return ", ".join(f"{key} is {there[key]} there and {here[key]} here" for key in odd)
