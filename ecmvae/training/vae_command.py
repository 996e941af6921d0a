"""`ecmvae vae train | sample | traverse | score`: signatures for the command line; work is imported when it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ecmvae.data.faces.command import faces
from ecmvae.errors import UserError, check_range
from ecmvae.files import refuse_unwritable, show_path

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_SEEDS = (0, 2**32 - 1)

Images = Literal["mnist", "fashion", "digits", "poly_digits"]


def train(
    config: str | None = None,
    out: str = "runs/vae",
    resume: bool = False,
    latent_dim: int | None = None,
    beta: float | None = None,
    data: Images | None = None,
    limit: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> int:
    """Train an autoencoder or a VAE on MNIST, Fashion-MNIST, scikit-learn's digits or five pictures of each.

    Examples:
        ecmvae vae train --config configs/vae/mnist.yaml --out runs/mnist-vae
        ecmvae vae train --config configs/vae/digits.yaml --latent_dim 2 --epochs 50
        ecmvae vae train --out runs/mnist-vae --resume

    Options that are given replace the file's settings.

    Args:
        config: YAML file with the sections model, data and fit; none is the 784-256-10 VAE on MNIST.
        out: Folder of the run.
        resume: Go on in that folder, with its own configuration.
        latent_dim: Width of the latent.
        beta: Weight of the KL.
        data: mnist, fashion, digits or poly_digits.
        limit: Use only so many training images.
        epochs: Passes over the training data.
        batch_size: Samples a step.
        learning_rate: Of Adam.
        seed: Of initialisation, order and sampling.
        device: auto, cpu, cuda or mps.
    """
    folder = Path(out)
    refuse_unwritable(folder / "last.pt")
    if resume and not (folder / "config.yaml").exists():
        raise UserError(f"nothing to resume in {folder}: {folder / 'config.yaml'} does not exist")
    from ecmvae.training.vae import load_vae_config, train_vae

    given = {
        "model.latent_dim": latent_dim,
        "model.beta": beta,
        "data.name": data,
        "data.limit": limit,
        "fit.epochs": epochs,
        "fit.batch_size": batch_size,
        "fit.learning_rate": learning_rate,
        "fit.seed": seed,
        "fit.device": device,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = load_vae_config(folder / "config.yaml" if resume else config, overrides)
    epoch, terms = train_vae(settings, folder, resume=resume)
    print(f"{show_path(folder)}: epoch {epoch}, " + ", ".join(f"{name} {value:.3f}" for name, value in terms.items()))
    return 0


def sample(run: str, out: str = "samples.png", count: int = 64, seed: int = 0) -> int:
    """Draw new images and write them as one PNG.

    A VAE samples its prior, a conditional one row a class; an autoencoder has no prior and samples the box of its
    training codes.

    Args:
        run: Folder left by `ecmvae vae train`.
        out: Picture to write.
        count: How many images, in rows of ten.
        seed: Of the draws.
    """
    _require_run(run)
    _check_picture(out)
    check_range("count", count, 1, 10_000)
    check_range("seed", seed, *_SEEDS)
    from ecmvae.training.vae import sample_images

    sample_images(run, out, count, seed)
    print(show_path(Path(out)))
    return 0


def traverse(
    run: str, out: str = "traverse.png", first: int = 0, second: int = 1, steps: int = 11, span: float = 2.5
) -> int:
    """Vary two latent dimensions and write the decoded grid as one PNG.

    A model of two latents under N(0, I) shows its whole manifold, at equal steps of probability; others vary two
    dimensions around the code of the first test image.

    Args:
        run: Folder left by `ecmvae vae train`.
        out: Picture to write.
        first: Dimension that changes downwards.
        second: Dimension that changes across.
        steps: Rows and columns.
        span: The dimensions go from -span to span.
    """
    _require_run(run)
    _check_picture(out)
    check_range("steps", steps, 1, 200)
    check_range("span", span, -1e6, 1e6)
    from ecmvae.training.vae import traverse_latents

    traverse_latents(run, out, first, second, steps, span)
    print(show_path(Path(out)))
    return 0


def score(run: str, num_samples: int = 50, limit: int | None = None, seed: int = 0) -> int:
    """Score a model on the test images: -ELBO, -IWAE(K), KL and active latents, in nats per sample.

    Prints the numbers and leaves them in the run's score.json.

    Args:
        run: Folder left by `ecmvae vae train`.
        num_samples: K, importance samples.
        limit: Use only the first so many test images.
        seed: Of the draws.
    """
    _require_run(run)
    check_range("num_samples", num_samples, 1, 100_000)
    check_range("limit", 1 if limit is None else limit, 1, 10_000_000)
    check_range("seed", seed, *_SEEDS)
    from ecmvae.training.vae import score_vae

    print(json.dumps(score_vae(run, num_samples, limit, seed), indent=1))
    return 0


VAE_COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "sample": sample,
    "traverse": traverse,
    "score": score,
    "faces": faces,
}
"""Sub-command of `ecmvae vae` -> function; its typed arguments are the command's options."""


def _require_run(run: str) -> None:
    try:
        found = (Path(run) / "model.safetensors").is_file()
    except OSError as error:
        raise UserError(f"cannot read {show_path(Path(run))} ({error.strerror}): name another folder") from error
    if not found:
        raise UserError(f"{show_path(Path(run))} holds no trained model: give a folder left by ecmvae vae train")


def _check_picture(out: str) -> None:
    """Refuse what no picture can be written to."""
    path = Path(out)
    if path.suffix.lower() not in _PICTURES or path.is_dir():
        raise UserError(f"--out {show_path(path)} is not the name of a picture: end it with .png")
    refuse_unwritable(path)
