"""`ecmvae vae train | sample | traverse | score | compare`: signatures for the command line.

The commands on pictures are in `ecmvae.training.vae_picture_command`. Work is imported when it starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ecmvae.data.faces.command import faces
from ecmvae.errors import UserError, check_range
from ecmvae.files import refuse_unwritable, show_path
from ecmvae.training.vae_picture_command import (
    SEEDS,
    check_output,
    check_picture,
    edit,
    encode,
    morph_pictures,
    outliers,
    reconstruct,
    require_run,
)


def train(
    config: str | None = None,
    out: str = "runs/vae",
    resume: bool = False,
    latent_dim: int | None = None,
    beta: float | None = None,
    data: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> int:
    """Train an autoencoder or a VAE on a folder of pictures, or on MNIST, Fashion-MNIST or scikit-learn's digits.

    Examples:
        ecmvae vae train --config configs/vae/mnist.yaml --out runs/mnist-vae
        ecmvae vae train --data folder:my_pictures --size 32 --out runs/mine
        ecmvae vae train --config configs/vae/digits.yaml --latent_dim 2 --epochs 50
        ecmvae vae train --out runs/mnist-vae --resume

    Options override the settings of the file.

    Args:
        config: YAML file with the sections model, data and fit; by default the 784-256-10 VAE on MNIST.
        out: Folder of the run.
        resume: Continue the run in --out, with its own configuration.
        latent_dim: Width of the latent.
        beta: Weight of the KL.
        data: mnist, fashion, digits, poly_digits, or folder:PATH for a folder of pictures.
        size: Height and width to which the pictures of a folder are resized.
        limit: Use only the first so many training images.
        epochs: Passes over the training data.
        batch_size: Samples in a step.
        learning_rate: Learning rate of Adam.
        seed: Seed of initialisation, order and sampling.
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
        "data.name": None if data is None else json.dumps(data),  # quoted: a path is no YAML
        "data.size": size,
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
    print(
        f"{show_path(folder)}: epoch {epoch}, "
        + ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
    )
    return 0


Sampler = Literal["gaussian_mixture", "flow"]
"""Densities of the codes that can take the prior's place, see `ecmvae.vae.latent_samplers`."""


def sample(
    run: str,
    out: str = "samples.png",
    count: int = 64,
    seed: int = 0,
    data: str | None = None,
    sampler: Sampler | None = None,
    draw: bool = False,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Draw new images and write them as one PNG.

    A VAE samples from its prior, a conditional VAE for each class or attribute in turn, and an autoencoder without a
    prior from the bounding box of its training codes. --sampler replaces the prior by a density fitted to those codes.

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        out: Picture to write.
        count: How many images, in rows of ten.
        seed: Seed of the random samples.
        data: Data whose codes an autoencoder or a sampler uses: folder:PATH or the name of an image set; by default the
            run's data.
        sampler: gaussian_mixture or flow, fitted to the codes; by default the model's own prior.
        draw: Sample the pixels from p(x|z), with their noise, instead of writing their means.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_picture(out)
    check_range("count", count, 1, 10_000)
    check_range("seed", seed, *SEEDS)
    from ecmvae.training.vae_model import load_trained
    from ecmvae.training.vae_pictures import sample_images

    trained = load_trained(run, device=device, trust_code=trust_code)
    sample_images(trained, Path(out), count, seed, data, sampler=sampler, pixels=draw)
    print(show_path(Path(out)))
    return 0


def traverse(
    run: str,
    out: str = "traverse.png",
    first: int = 0,
    second: int = 1,
    steps: int = 11,
    span: float = 2.5,
    data: str | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Vary two latent dimensions and write the decoded grid as one PNG.

    A model with two latents under N(0, I) shows its whole manifold, at equal steps of probability. For other models two
    dimensions vary around the code of the first test image.

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        out: Picture to write.
        first: Dimension that changes downwards.
        second: Dimension that changes across.
        steps: Rows and columns.
        span: The dimensions go from -span to span.
        data: Data whose first test image is used: folder:PATH or the name of an image set; by default the run's data.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_picture(out)
    check_range("steps", steps, 1, 200)
    check_range("span", span, -1e6, 1e6)
    from ecmvae.training.vae_model import load_trained
    from ecmvae.training.vae_pictures import traverse_latents

    trained = load_trained(run, device=device, trust_code=trust_code)
    traverse_latents(trained, Path(out), first, second, steps, span, data)
    print(show_path(Path(out)))
    return 0


def score(
    run: str,
    num_samples: int = 50,
    limit: int | None = None,
    seed: int = 0,
    data: str | None = None,
    metrics: str | None = None,
    images: int = 1000,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Score a model on the test images, by the metrics for its kind; log-likelihoods are in nats per sample.

    VAEs: -ELBO, -IWAE(K), KL and active latents. Multimodal models: joint and conditional coherence, or the accuracy
    from pictures to attributes and back. Data with known factors: MIG, SAP, DCI, FactorVAE and beta-VAE scores. Choose
    others with --metrics; quality, which takes minutes, is FID, precision, recall, density and coverage.

    Prints the scores and writes them to the run's score.json.

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        num_samples: K, importance samples.
        limit: Use only the first so many test images.
        seed: Seed of the random samples.
        data: Other test images: folder:PATH or the name of an image set; by default the run's data.
        metrics: Names, separated by commas: bounds, losses, coherence, attributes, disentanglement, quality.
        images: Number of generated and of test pictures for the metric quality.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    _check_scores(num_samples, limit, seed, images)
    from ecmvae.training.vae_model import load_trained
    from ecmvae.training.vae_scores import score_vae

    trained = load_trained(run, device=device, trust_code=trust_code)
    names = None if metrics is None else [name.strip() for name in metrics.split(",")]
    numbers = score_vae(trained, num_samples, limit, seed, data=data, metrics=names, images=images)
    print(json.dumps(numbers, indent=1))
    return 0


def compare(
    runs: list[str],
    out: str | None = None,
    num_samples: int = 50,
    limit: int | None = None,
    seed: int = 0,
    data: str | None = None,
    metrics: str | None = None,
    images: int = 1000,
    trust_code: bool = False,
) -> int:
    """Score several runs in the same way, and print a table with a column for each.

    Examples:
        ecmvae vae compare runs/vae runs/beta-vae --out compare.json

    Args:
        runs: Folders left by `ecmvae vae train`, or addresses hf://owner/name.
        out: Also write a JSON file.
        num_samples: K, importance samples.
        limit: Use only the first so many test images.
        seed: Seed of the random samples.
        data: Test images for all runs: folder:PATH or the name of an image set; by default each run's own data.
        metrics: As for score.
        images: As for score.
        trust_code: Import the priors that the runs' configurations name by import path.
    """
    for run in runs:
        require_run(run)
    if len(set(runs)) < 2:
        raise UserError("compare needs at least two different runs")
    if out is not None:
        check_output(out, (".json",))
    _check_scores(num_samples, limit, seed, images)
    from ecmvae.training.vae_scores import compare_runs

    names = None if metrics is None else [name.strip() for name in metrics.split(",")]
    settings = {"num_samples": num_samples, "limit": limit, "seed": seed, "data": data}
    table, _ = compare_runs(
        runs,
        None if out is None else Path(out),
        trust_code=trust_code,
        metrics=names,
        images=images,
        **settings,
    )
    print(table)
    return 0


VAE_COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "sample": sample,
    "reconstruct": reconstruct,
    "encode": encode,
    "traverse": traverse,
    "morph": morph_pictures,
    "edit": edit,
    "outliers": outliers,
    "score": score,
    "compare": compare,
    "faces": faces,
}
"""Sub-command of `ecmvae vae` -> function; its typed arguments are the command's options."""


def _check_scores(num_samples: int, limit: int | None, seed: int, images: int) -> None:
    check_range("num_samples", num_samples, 1, 100_000)
    check_range("limit", 1 if limit is None else limit, 1, 10_000_000)
    check_range("seed", seed, *SEEDS)
    check_range("images", images, 10, 1_000_000)
