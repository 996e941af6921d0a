"""What the rows share: how a row is written, known answers, and small models trained once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecmvae.data.mnist import LabelledImages, load_images
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import ModelSettings, batch_for, build_vae

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "reference" / "vae"


@dataclass(frozen=True)
class Row:
    """One thing that a document shows."""

    number: int
    """1 to 106."""
    document: str
    """000, 001, 002, 003 or 004."""
    claim: str
    """What the document says or prints, in short."""
    where: str
    """File below ecmvae/ (or a path from the root) that holds it; empty where `reason` is set."""
    check: Callable[[], None] | None = None
    """Runs it and compares."""
    reason: str = ""
    """Why nothing runs."""


ROWS: dict[int, Row] = {}


def row(
    number: int, document: str, claim: str, where: str
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Enter a check into the table."""

    def enter(check: Callable[[], None]) -> Callable[[], None]:
        assert number not in ROWS, f"row {number} is there twice"
        ROWS[number] = Row(number, document, claim, where, check)
        return check

    return enter


def not_here(number: int, document: str, claim: str, reason: str) -> None:
    """Enter a row that does not run."""
    ROWS[number] = Row(number, document, claim, "", reason=reason)


@cache
def known(name: str) -> Any:
    """A file of known answers."""
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def digits() -> LabelledImages:
    """1,500 + 297 digits of 8x8 pixels."""
    return load_images("digits")


def trained(
    settings: ModelSettings, epochs: int, images: Tensor | None = None, labels: Tensor | None = None
) -> Any:
    """A model after some epochs on digits, in eval mode; the same every time."""
    images = digits().train_images if images is None else images
    labels = digits().train_labels[: len(images)] if labels is None else labels
    with torch.random.fork_rng(), torch.enable_grad():  # a row may ask while it only looks
        torch.manual_seed(0)
        model = build_vae(settings, tuple(images.shape[1:]))
        how = FitSettings(epochs=epochs, batch_size=100, learning_rate=5e-3, device="cpu")
        fit(model, batch_for(model, images, labels), how, progress=False)
    return model.eval()


def gaussian(images: Tensor, latents: int, epochs: int) -> VAE:
    """A VAE with Gaussian pixels of standard deviation 0.1."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        model = mlp_vae(tuple(images.shape[1:]), 64, latents, likelihood=GaussianLikelihood(0.01))
        how = FitSettings(epochs=epochs, batch_size=50, learning_rate=3e-3, device="cpu")
        fit(model, {"x": images}, how, progress=False)
    return model


@cache
def vae(latents: int = 2) -> VAE:
    """64-64-L on digits."""
    return trained(ModelSettings(name="vae", hidden=64, latent_dim=latents), 20)


@cache
def autoencoder(latents: int = 2) -> AutoEncoder:
    """The autoencoder of the same sizes."""
    return trained(ModelSettings(name="autoencoder", hidden=64, latent_dim=latents), 20)


@torch.no_grad()
def decode(model: Any, codes: Tensor) -> Tensor:
    """Mean images of codes (n, L)."""
    return model.likelihood.mean(model.decode(codes))


def double(values: Any) -> Tensor:
    """Float64."""
    return torch.tensor(values, dtype=torch.float64)


def parameters(module: torch.nn.Module) -> int:
    """How many."""
    return sum(each.numel() for each in module.parameters())
