"""Base autoencoders and VAEs on labelled images: the work of `ecmvae vae train | sample | traverse | score`.

A run is a folder: ``config.yaml``, ``model.safetensors`` (best weights), ``last.pt`` (to resume), ``history.json`` and
TensorBoard's files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from ecmvae.config_reader import build, merge, nested, read_layers
from ecmvae.data.mnist import EVENT_SHAPES, ImageSet, LabelledImages, load_images
from ecmvae.errors import UserError, check_range
from ecmvae.files import remove_leftovers, replacing
from ecmvae.locks import locked
from ecmvae.training.vae_coherence import coherence_scores
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.latent_space import box_samples, manifold_grid, traverse
from ecmvae.vae.latents import active_units
from ecmvae.vae.metrics import bound_report
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.plots import image_canvas, save_canvas
from ecmvae.vae.priors import StandardNormal
from ecmvae.vae.vae import VAE, ConditionalVAE
from ecmvae.vae.zoo import Model, ModelSettings, batch_for, build_vae, codes_of
from ecmvae.weight_files import read_weight_file, write_weight_file


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images."""

    name: ImageSet = "mnist"
    """mnist, fashion, digits (8x8, no download) or poly_digits (five coloured pictures of one digit, no download)."""
    pad_to: int | None = None
    """Pad with black to this height and width, for instance 32 for the Keras models."""
    limit: int | None = None
    """Use only the first so many training images."""
    validation: int = 0
    """Hold out the last so many training images."""


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """A whole run: a YAML file has these three sections."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    fit: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        """Check the sizes before anything is built; raises a `UserError` that names the one out of its range."""
        for name in ("latent_dim", "hidden", "components", "private_dim"):
            check_range(f"model.{name}", getattr(self.model, name), 1, 65_536)


def train_vae(settings: VAEConfig, folder: Path, *, resume: bool = False) -> tuple[int, dict[str, float]]:
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
        if not resume and (folder / "last.pt").exists():
            raise UserError(f"{folder} holds a run already: choose another --out, or go on with --resume")
        for name in ("config.yaml", "last.pt", "history.json", "model.safetensors"):
            remove_leftovers(folder / name)
        return _train(settings, folder, resume)


def _train(settings: VAEConfig, folder: Path, resume: bool) -> tuple[int, dict[str, float]]:
    images = _images(settings.data)
    torch.manual_seed(settings.fit.seed)
    model = _build(settings, images)
    with replacing(folder / "config.yaml") as part:
        part.write_text(yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False))
    held_out = len(images.train_images) - settings.data.validation
    batches = batch_for(model, images.train_images, images.train_labels)
    validation = {name: x[held_out:] for name, x in batches.items()} if settings.data.validation else None
    train = {name: x[:held_out] for name, x in batches.items()}
    result = fit(model, train, settings.fit, validation=validation, folder=folder, resume=resume)
    with replacing(folder / "model.safetensors") as part:
        write_weight_file(model.state_dict(), part)
    return result.best_epoch + 1, result.history[result.best_epoch]


def sample_images(run: str, out: str, count: int, seed: int) -> None:
    """Draw new images and write them as one PNG; see `ecmvae.training.vae_command.sample`."""
    model, settings = load_vae(run)
    save_canvas(image_canvas(_rows(draw(model, settings, count, seed))), _picture(out), scale=2)


def traverse_latents(run: str, out: str, first: int, second: int, steps: int, span: float) -> None:
    """Write a decoded grid over two latent dimensions; see `ecmvae.training.vae_command.traverse`."""
    model, settings = load_vae(run)
    if not isinstance(model, AutoEncoder | VAE):
        raise UserError(f"traverse needs an autoencoder or an unconditional VAE, {run} is {settings.model.name}")
    images = _images(settings.data)
    for name, dimension in (("first", first), ("second", second)):
        check_range(name, dimension, 0, settings.model.latent_dim - 1)
    if isinstance(model, VAE) and model.latent_dim == 2 and isinstance(model.prior, StandardNormal):
        grid = manifold_grid(steps).float()
    else:
        code = codes_of(model, {"x": images.test_images[:1]})[0]
        grid = traverse(code, (first, second), torch.linspace(-span, span, steps))
    with torch.no_grad():
        decoded = model.likelihood.mean(model.decode(grid.flatten(0, 1)))
    decoded = rearrange(decoded, "(r c) ... -> r c ...", r=len(grid))
    save_canvas(image_canvas(decoded), _picture(out), scale=2)


def score_vae(run: str, num_samples: int = 50, limit: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Score a run on the test images and write score.json; see `ecmvae.training.vae_command.score`."""
    model, settings = load_vae(run)
    images = _images(settings.data)
    x, labels = images.test_images[:limit], images.test_labels[:limit]
    torch.manual_seed(seed)
    numbers: dict[str, Any] = {"test_images": len(x)}
    if isinstance(model, VAE):
        numbers |= bound_report(model, x, num_samples=num_samples)
        numbers["active_units"] = int(active_units(codes_of(model, {"x": x})).sum())
        numbers["latent_dim"] = model.latent_dim
        numbers["kl_per_dimension"] = _kl_table(model, x)
    else:
        batch = batch_for(model, x, labels)
        with torch.no_grad():
            output = model(**batch) if isinstance(model, AutoEncoder | ConditionalVAE) else model(batch)
        numbers |= {name: float(value) for name, value in output.named().items()}
        if isinstance(model, MultimodalVAE):
            numbers |= coherence_scores(model, images, limit, seed)
    with replacing(Path(run) / "score.json") as part:
        part.write_text(json.dumps(numbers, indent=1))
    return numbers


def load_vae_config(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> VAEConfig:
    """Read a run's YAML file; None gives the defaults.

    Args:
        path: The file.
        overrides: Settings that replace the file's, for instance ``{"model.latent_dim": 2}``.

    Raises:
        UserError: For a missing file, or an unknown section, key or value.
    """
    layers = [] if path is None else [read_layers(Path(path))]
    return build(VAEConfig, merge([*layers, nested(overrides or {})]))


def load_vae(run: str | Path) -> tuple[Model, VAEConfig]:
    """The best model of a run, in eval mode, and its configuration.

    Raises:
        UserError: When the folder holds no finished run, or a damaged one.
    """
    folder = Path(run)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} holds no trained model: give a folder left by ecmvae vae train")
    settings = load_vae_config(folder / "config.yaml")
    shape = EVENT_SHAPES[settings.data.name]
    if settings.data.pad_to:
        shape = (*shape[:-2], settings.data.pad_to, settings.data.pad_to)
    try:
        model = build_vae(settings.model, shape)
    except ValueError as error:
        raise UserError(f"{folder}/config.yaml: {error}") from None
    try:
        model.load_state_dict(read_weight_file(folder / "model.safetensors"))
    except RuntimeError as error:
        raise UserError(
            f"{folder}/model.safetensors is not of the model in {folder}/config.yaml: train it again"
        ) from error
    return model.eval(), settings


@torch.no_grad()
def draw(model: Model, settings: VAEConfig, count: int, seed: int = 0) -> Tensor:
    """New images (count, C, H, W): from the prior; class by class where there are classes; from the box of an AE.

    Several images of one sample stand side by side.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(model, AutoEncoder):
        codes = codes_of(model, {"x": _images(settings.data).train_images})
        return model.likelihood.mean(model.decode(box_samples(codes, count, generator)))
    if isinstance(model, ConditionalVAE):
        labels = torch.arange(count) % 10
        return model.sample(torch.nn.functional.one_hot(labels, 10).float(), generator)
    drawn = model.sample(count, generator)
    if isinstance(drawn, Tensor):
        return drawn
    return torch.cat([x for name, x in drawn.items() if name.startswith("image")], -1)  # side by side


def _images(settings: DataSettings) -> LabelledImages:
    images = load_images(settings.name)
    if settings.pad_to is not None:
        missing = settings.pad_to - images.train_images.shape[-1]
        if missing < 0:
            raise UserError(f"data.pad_to {settings.pad_to} is smaller than the images: leave it out")
        margins = (missing // 2, missing - missing // 2) * 2
        images = replace(
            images, train_images=pad(images.train_images, margins), test_images=pad(images.test_images, margins)
        )
    kept = slice(settings.limit)
    images = replace(images, train_images=images.train_images[kept], train_labels=images.train_labels[kept])
    if not 0 <= settings.validation < len(images.train_images):
        raise UserError(
            f"data.validation {settings.validation} leaves nothing of {len(images.train_images)} training images"
        )
    return images


def _build(settings: VAEConfig, images: LabelledImages) -> Model:
    try:
        return build_vae(settings.model, tuple(images.train_images.shape[1:]))
    except ValueError as error:
        raise UserError(str(error)) from None


def _kl_table(model: VAE, x: Tensor) -> list[float]:
    """KL of each latent dimension, where posterior and prior fall apart into dimensions; else nothing."""
    with torch.no_grad():
        terms = model.prior.kl_terms(model.posterior_latents(x, None)["z"])
    if terms.shape[-1] != model.latent_dim:
        return []
    return [round(value, 4) for value in terms.mean(0).tolist()]


def _rows(images: Tensor, columns: int = 10) -> Tensor:
    """(n, C, H, W) -> (rows, columns, C, H, W), the last row filled with black."""
    missing = -len(images) % columns
    padded = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
    return rearrange(padded, "(r c) ... -> r c ...", c=columns)


def _picture(out: str) -> Path:
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
