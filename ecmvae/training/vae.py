"""Train a model of `ecmvae.vae` on labelled images or on a folder of pictures: the work of `ecmvae vae train`.

A run is a folder: ``config.yaml``, ``metadata.json`` and ``model.safetensors`` (best weights) are a model folder as
`ecmvae.training.vae_model` reads it; ``last.pt`` (to resume), ``history.json`` and TensorBoard's files lie beside them.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.files import remove_leftovers, replacing, show_path, write_json
from ecmvae.foreign_text import read_json
from ecmvae.hub.named_models import CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE
from ecmvae.locks import locked
from ecmvae.training.vae_data import RunData, Samples, batch_of
from ecmvae.training.vae_folder import build_model, config_text, metadata_of
from ecmvae.training.vae_loop import fit
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.training.vae_settings import FOLDER, DataSettings, VAEConfig, load_vae_config
from ecmvae.training.vae_state import LAST
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.beta_tc_vae import BetaTCVAE
from ecmvae.vae.latent_samplers import fit_sampler, sample_with
from ecmvae.vae.latent_space import box_samples
from ecmvae.vae.vae import VAE, ConditionalVAE
from ecmvae.vae.zoo import Model
from ecmvae.weight_files import write_weight_file

__all__ = ["DataSettings", "VAEConfig", "draw", "load_vae", "load_vae_config", "train_vae"]

logger = logging.getLogger(__name__)


def train_vae(
    settings: VAEConfig, folder: Path, *, resume: bool = False
) -> tuple[int, dict[str, float]]:
    """Train a model and write its run folder.

    Args:
        settings: Model, data and fit.
        folder: Folder of the run.
        resume: Continue from the folder's ``last.pt``.

    Returns:
        Number of the best epoch, from 1, and its mean terms.

    Raises:
        UserError: When model and data do not fit together, the folder holds a run already or is in use by another
            process, or there is nothing sound to resume.
    """
    with locked(folder):
        if not resume and (folder / LAST).exists():
            raise UserError(
                f"{folder} holds a run already: choose another --out, or go on with --resume"
            )
        for name in (CONFIG_FILE, METADATA_FILE, LAST, "history.json", WEIGHTS_FILE):
            remove_leftovers(folder / name)
        return _train(settings, folder, resume)


def _train(settings: VAEConfig, folder: Path, resume: bool) -> tuple[int, dict[str, float]]:
    if settings.data.name == FOLDER:  # a run that is looked into from another folder must find it
        absolute = str(Path(settings.data.root or "").absolute())
        settings = replace(settings, data=replace(settings.data, root=absolute))
    data = RunData(settings.data)
    train, validation = data.samples("train"), data.samples("valid")
    if len(train) < 2:
        raise UserError(
            f"{data.source} has {len(train)} training pictures: training needs at least 2"
        )
    torch.manual_seed(settings.fit.seed)
    model = build_model(settings, data.facts)
    if isinstance(model, BetaTCVAE):
        model.dataset_size = len(train)
    metadata = metadata_of(data.facts, settings) | {"training_pictures": _fingerprint(train)}
    if resume:
        _compare(folder / METADATA_FILE, metadata, data.source)
    with replacing(folder / CONFIG_FILE) as part:
        part.write_text(config_text(settings))
    write_json(folder / METADATA_FILE, metadata)
    result = fit(
        model,
        batch_of(model, train),
        settings.fit,
        validation=batch_of(model, validation) if len(validation) else None,
        folder=folder,
        resume=resume,
    )
    with replacing(folder / WEIGHTS_FILE) as part:
        write_weight_file(model.state_dict(), part)
    return result.best_epoch + 1, result.history[result.best_epoch]


def load_vae(run: str | Path, *, trust_code: bool = False) -> tuple[Model, VAEConfig]:
    """The best model of a run, in eval mode, and its configuration.

    Args:
        run: The run's folder.
        trust_code: Import the prior that the configuration names by import path.

    Raises:
        UserError: When the folder holds no finished run, a damaged one, or one that names code that is not trusted.
    """
    trained = TrainedVAE.from_pretrained(Path(run), trust_code=trust_code)
    return trained.model, trained.config


def draw(model: Model, settings: VAEConfig, count: int, seed: int = 0) -> Tensor:
    """New images (count, C, H, W), see `draw_from`."""
    data = RunData(settings.data)
    return draw_from(
        TrainedVAE(model=model, config=settings, facts=data.facts), count, seed, data=data
    )


@torch.no_grad()
def draw_from(
    trained: TrainedVAE,
    count: int,
    seed: int = 0,
    *,
    data: RunData | None = None,
    sampler: str | None = None,
    pixels: bool = False,
) -> Tensor:
    """New images (count, C, H, W): from the prior; under each condition in turn; from the box of an autoencoder.

    Several images of one sample stand side by side.

    Args:
        trained: The model.
        count: How many.
        seed: Of the draws.
        data: Whose codes an autoencoder or a sampler draws from; None is the data it was trained on.
        sampler: A `latent_samplers.SamplerName`, fitted to those codes and used in place of the prior.
        pixels: Draw x itself; otherwise its mean.

    Raises:
        UserError: If the data is needed and cannot be read, or a sampler does not fit the model.
    """
    model, generator = trained.model, torch.Generator().manual_seed(seed)
    if sampler is not None:
        if not isinstance(model, AutoEncoder | VAE):
            raise UserError(
                f"a sampler of codes needs an unconditional model of one picture, not {trained.config.model.name}"
            )
        codes = trained.encode((data or trained.data()).samples("train"))
        fitted = fit_sampler(sampler, codes, seed=seed).to(trained.device)
        return sample_with(model, fitted, count, _on(trained, generator, seed), draw=pixels).cpu()
    if isinstance(model, AutoEncoder) and model.prior is None:
        codes = trained.encode((data or trained.data()).samples("train"))
        boxed = box_samples(codes, count, generator)
        return (
            model.likelihood.sample(model.decode(boxed.to(trained.device))).cpu()
            if pixels
            else trained.decode(boxed)
        )
    if isinstance(model, ConditionalVAE):
        conditions = condition_rows(trained)
        rows = conditions.repeat(-(-count // len(conditions)), 1)[:count].to(trained.device)
        drawn: Any = model.sample(rows, _on(trained, generator, seed), draw=pixels)
    else:
        drawn = model.sample(count, _on(trained, generator, seed), draw=pixels)
    if isinstance(drawn, Tensor):
        return drawn.cpu()
    return torch.cat(
        [x for name, x in drawn.items() if name not in trained.facts.conditions], -1
    ).cpu()


def condition_rows(trained: TrainedVAE) -> Tensor:
    """One condition after the other, (rows, K): each value of each categorical column, each attribute alone.

    With several modalities, those that are not varied are zero.
    """
    return torch.eye(sum(trained.facts.classes.values()))


def _on(trained: TrainedVAE, generator: torch.Generator, seed: int) -> torch.Generator:
    """A generator on the model's device."""
    device = trained.device
    return generator if device.type == "cpu" else torch.Generator(device).manual_seed(seed)


def _fingerprint(samples: Samples) -> dict[str, Any]:
    """How many pictures there are, and a hash of their names."""
    digest = hashlib.sha256("\0".join(samples.names).encode("utf-8", "surrogateescape")).hexdigest()
    return {"count": len(samples), "names_sha256": digest}


def _compare(path: Path, metadata: dict[str, Any], source: str) -> None:
    """Refuse to resume on data of another shape; warn where the training pictures are others than at the start."""
    if not path.is_file():
        return
    before = read_json(path)
    if not isinstance(before, dict):
        raise UserError(f"{show_path(path)} is damaged: train in another folder")
    for key in ("event_shape", "conditions"):
        if before.get(key) != metadata[key]:
            raise UserError(
                f"{source} has another {key} than when this run began: train in another folder"
            )
    if before.get("training_pictures") != metadata["training_pictures"]:
        logger.warning("%s has other training pictures than when this run began", source)
