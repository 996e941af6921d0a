"""`ecmvae vae reconstruct | encode | morph | edit | outliers`: signatures for the command line.

Work is imported when it starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError, check_range
from ecmvae.files import refuse_unwritable, show_path

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SEEDS = (0, 2**32 - 1)
"""Lowest and highest seed."""

SplitName = Literal["train", "valid", "test", "all"]


def reconstruct(
    run: str,
    pictures: tuple[str, ...] = (),
    out: str = "reconstruct.png",
    data: str | None = None,
    split: SplitName = "test",
    count: int = 10,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Write pictures above their reconstructions as one PNG, and print the mean squared error.

    Examples:
        ecmvae vae reconstruct runs/mine --count 12
        ecmvae vae reconstruct runs/mine a.jpg b.jpg --out pairs.png

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        pictures: Picture files; by default the first pictures of the data.
        out: Picture to write.
        data: folder:PATH or the name of an image set; by default the run's data.
        split: train, valid, test, or all of a folder.
        count: Number of pictures of the data.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_picture(out)
    check_range("count", count, 1, 200)
    from ecmvae.training.vae_model import load_trained
    from ecmvae.training.vae_pictures import reconstruct_images

    trained = load_trained(run, device=device, trust_code=trust_code)
    error = reconstruct_images(trained, Path(out), pictures, data, split, count)
    print(f"{show_path(Path(out))}: mean squared error {error:.5f} per value")
    return 0


def encode(
    run: str,
    pictures: tuple[str, ...] = (),
    out: str = "codes.npz",
    data: str | None = None,
    split: SplitName = "test",
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Write the latent code of each picture: names, codes, log-variances and known factors as npz, or a csv.

    Examples:
        ecmvae vae encode runs/mine --split all --out codes.csv

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        pictures: Picture files; by default the data.
        out: File to write, .npz or .csv.
        data: folder:PATH or the name of an image set; by default the run's data.
        split: train, valid, test, or all of a folder.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_output(out, (".npz", ".csv"))
    from ecmvae.training.vae_model import load_trained
    from ecmvae.training.vae_pictures import encode_pictures

    trained = load_trained(run, device=device, trust_code=trust_code)
    count, width = encode_pictures(trained, Path(out), pictures, data, split)
    print(f"{show_path(Path(out))}: {count} codes of {width} numbers")
    return 0


def morph_pictures(
    run: str,
    start: str,
    end: str,
    out: str = "morph.png",
    steps: int = 9,
    data: str | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Write the interpolation between two pictures in the latent space as one PNG.

    Examples:
        ecmvae vae morph runs/mine a.jpg b.jpg
        ecmvae vae morph runs/mine 0 17 --out morph.png

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        start: Picture file, or name or number of a test picture of the data.
        end: The same.
        out: Picture to write.
        steps: Number of pictures, both ends included.
        data: folder:PATH or the name of an image set; by default the run's data.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_picture(out)
    check_range("steps", steps, 2, 200)
    from ecmvae.training.vae_model import load_trained
    from ecmvae.training.vae_pictures import morph_images

    trained = load_trained(run, device=device, trust_code=trust_code)
    morph_images(trained, start, end, Path(out), steps, data)
    print(show_path(Path(out)))
    return 0


def edit(
    run: str,
    pictures: tuple[str, ...] = (),
    attribute: str = "",
    across: str | None = None,
    out: str = "edit.png",
    count: int = 6,
    steps: int = 7,
    span: float = 2.0,
    data: str | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Write pictures with more and less of an attribute as one PNG.

    The attribute's direction is the mean latent code of the training pictures that have it minus that of the others.

    Examples:
        ecmvae vae edit runs/mine --attribute Smiling
        ecmvae vae edit runs/mine a.jpg --attribute Smiling --across Eyeglasses

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        pictures: Picture files to edit; by default the first test pictures of the data.
        attribute: Name from the attribute table; Column=value for a categorical column.
        across: A second attribute: a grid of one picture, with the first attribute downwards and the second across.
        out: Picture to write.
        count: Number of pictures of the data.
        steps: Number of strengths.
        span: The strengths go from -span to span; 1 is the difference between the mean codes.
        data: folder:PATH with the attributes, or the name of an image set; by default the run's data.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_picture(out)
    if not attribute:
        raise UserError("edit needs an attribute: give --attribute NAME")
    check_range("count", count, 1, 100)
    check_range("steps", steps, 1, 100)
    check_range("span", span, -1e6, 1e6)
    from ecmvae.training.vae_edit import edit_images
    from ecmvae.training.vae_model import load_trained

    trained = load_trained(run, device=device, trust_code=trust_code)
    edit_images(
        trained, Path(out), attribute, across, pictures, data, count=count, span=span, steps=steps
    )
    print(show_path(Path(out)))
    return 0


def outliers(
    run: str,
    pictures: tuple[str, ...] = (),
    out: str = "outliers.png",
    table: str = "outliers.csv",
    data: str | None = None,
    split: SplitName = "test",
    by: Literal["excess", "likelihood"] = "excess",
    count: int = 8,
    num_samples: int = 10,
    seed: int = 0,
    device: str = "auto",
    trust_code: bool = False,
) -> int:
    """Score how unusual each picture is for a model, and show the most unusual ones with a map of the cost.

    The score is -log p(x) in nats (-IWAE(K) for a VAE, -log p(x|code) for an autoencoder) minus the cost of a perfect
    reconstruction, which depends on the grey values alone; --by likelihood does not subtract it. The map shows the nats
    that each pixel costs more than in a perfect reconstruction.

    Examples:
        ecmvae vae outliers runs/mine --data folder:new_pictures --split all

    Args:
        run: Folder left by `ecmvae vae train`, or hf://owner/name on the hub.
        pictures: Picture files; by default the data.
        out: Picture to write.
        table: csv to write: name, score, -log p(x), and the share of training pictures with a lower score.
        data: folder:PATH or the name of an image set; by default the run's data.
        split: train, valid, test, or all of a folder.
        by: excess (over a perfect reconstruction) or likelihood.
        count: Number of pictures to show.
        num_samples: K, importance samples.
        seed: Seed of the random samples.
        device: auto, cpu, cuda or mps.
        trust_code: Import the prior that the run's configuration names by import path.
    """
    require_run(run)
    check_picture(out)
    check_output(table, (".csv",), "table")
    check_range("count", count, 1, 200)
    check_range("num_samples", num_samples, 1, 100_000)
    check_range("seed", seed, *SEEDS)
    from ecmvae.training.vae_edit import find_outliers
    from ecmvae.training.vae_model import load_trained

    trained = load_trained(run, device=device, trust_code=trust_code)
    ranked = find_outliers(
        trained,
        Path(out),
        Path(table),
        pictures,
        data,
        split,
        by=by,
        count=count,
        num_samples=num_samples,
        seed=seed,
    )
    for name, value in ranked[:count]:
        print(f"{value:12.1f}  {show_path(Path(name))}")
    print(f"{show_path(Path(out))}, {show_path(Path(table))}")
    return 0


def require_run(run: str) -> None:
    """Refuse a folder without a trained model, before anything heavy is imported; addresses of the hub pass."""
    from ecmvae.hub.client import HubAddress

    try:
        found = HubAddress.parse(run) is not None or (Path(run) / "model.safetensors").is_file()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds a null character"
        raise UserError(
            f"cannot read {show_path(Path(run))} ({reason}): name another folder"
        ) from error
    if not found:
        raise UserError(
            f"{show_path(Path(run))} holds no trained model: give a folder left by ecmvae vae train"
        )


def check_picture(out: str) -> None:
    """Refuse what no picture can be written to."""
    path = Path(out)
    if path.suffix.lower() not in _PICTURES or path.is_dir():
        raise UserError(f"--out {show_path(path)} is not the name of a picture: end it with .png")
    refuse_unwritable(path)


def check_output(out: str, suffixes: tuple[str, ...], option: str = "out") -> None:
    """Refuse what no such file can be written to."""
    path = Path(out)
    if path.suffix.lower() not in suffixes or path.is_dir():
        raise UserError(
            f"--{option} {show_path(path)} is not the name of a file to write: end it with {suffixes[0]}"
        )
    refuse_unwritable(path)
