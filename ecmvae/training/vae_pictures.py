"""Pictures of what a trained model makes of data: the work of `ecmvae vae sample | traverse | reconstruct | morph`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ecmvae.data.picture_folder import Split, nearest_name
from ecmvae.errors import UserError, check_range
from ecmvae.files import replacing
from ecmvae.foreign_text import cut
from ecmvae.training.vae import draw_from
from ecmvae.training.vae_data import Samples, as_float, read_pictures
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latent_space import manifold_grid, morph, traverse
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.plots import labelled_canvas, save_canvas
from ecmvae.vae.priors import StandardNormal
from ecmvae.vae.vae import VAE, ConditionalVAE

COLUMNS = 10
"""Of a grid of samples."""

SHOWN, SCALE = 64, 4
"""Small images are enlarged up to about this width, at most by this factor."""


def sample_images(
    trained: TrainedVAE,
    out: Path,
    count: int,
    seed: int,
    data: str | None = None,
    *,
    sampler: str | None = None,
    pixels: bool = False,
) -> None:
    """Draw new images and write them as one PNG; see `ecmvae.training.vae_command.sample`."""
    needs_codes = sampler is not None or isinstance(trained.model, AutoEncoder)
    source = trained.data(data) if needs_codes else None
    images = draw_from(trained, count, seed, data=source, sampler=sampler, pixels=pixels)
    labels, columns = [], COLUMNS
    if isinstance(trained.model, ConditionalVAE):
        labels = [column for names in trained.facts.conditions.values() for column in names]
        columns = len(labels)
    rows = _rows(images, columns)
    write_grid(
        rows, out, [], labels[: rows.shape[1]], f"New images of {title_of(trained)}, seed {seed}"
    )


def traverse_latents(
    trained: TrainedVAE,
    out: Path,
    first: int,
    second: int,
    steps: int,
    span: float,
    data: str | None = None,
) -> None:
    """Write a decoded grid over two latent dimensions; see `ecmvae.training.vae_command.traverse`."""
    model = trained.model
    if isinstance(model, ConditionalVAE | MultimodalVAE):
        raise UserError(
            f"traverse needs an autoencoder or an unconditional VAE, not {trained.config.model.name}"
        )
    for name, dimension in (("first", first), ("second", second)):
        check_range(name, dimension, 0, trained.config.model.latent_dim - 1)
    if isinstance(model, VAE) and model.latent_dim == 2 and isinstance(model.prior, StandardNormal):
        grid = manifold_grid(steps).float()
        labels = [f"{value:.2g}" for value in grid[:, 0, 0].tolist()]
        title = f"The two latents of {title_of(trained)}, at equal steps of probability"
    else:
        code = trained.encode(trained.data(data).samples("test").take(slice(0, 1)))[0]
        values = torch.linspace(-span, span, steps)
        grid = traverse(code, (first, second), values)
        labels = [f"{value:.2g}" for value in values.tolist()]
        title = f"Latents {first} (down) and {second} (across) of {title_of(trained)}"
    decoded = trained.decode(grid.flatten(0, 1))
    write_grid(rearrange(decoded, "(r c) ... -> r c ...", r=len(grid)), out, labels, labels, title)


def reconstruct_images(
    trained: TrainedVAE,
    out: Path,
    pictures: Sequence[str],
    data: str | None,
    split: Split,
    count: int,
) -> float:
    """Write pairs of pictures and their reconstructions; the mean squared error per value."""
    samples = chosen_samples(trained, pictures, data, split).take(
        slice(0, None if pictures else count)
    )
    originals, again = as_float(samples.images), trained.reconstruct(samples)
    rows, names = [originals, again], ["original", "reconstruction"]
    if isinstance(trained.model, MultimodalVAE) and samples.conditions:
        rows.append(_from_conditions(trained, samples))
        names.append(f"from {cut(', '.join(samples.conditions), 30)}")
    grid = torch.stack([side_by_side(row) for row in rows])
    write_grid(
        grid, out, names, short_names(samples.names), f"Reconstructions of {title_of(trained)}"
    )
    return float((originals - again).square().mean())


def morph_images(
    trained: TrainedVAE, start: str, end: str, out: Path, steps: int, data: str | None
) -> None:
    """Write the pictures between two pictures; see `ecmvae.training.vae_picture_command.morph_pictures`."""
    ends = [one_sample(trained, word, data) for word in (start, end)]
    first, last = (trained.encode(each)[0] for each in ends)
    alphas = torch.linspace(0, 1, steps)
    conditions = joined([ends[0]] * steps) if isinstance(trained.model, ConditionalVAE) else None
    between = trained.decode(morph(first, last, alphas), conditions)
    images = torch.cat([as_float(ends[0].images), between, as_float(ends[1].images)])
    labels = ["start", *(f"{alpha:.2f}" for alpha in alphas.tolist()), "end"]
    title = (
        f"From {cut(ends[0].names[0], 60)} to {cut(ends[1].names[0], 60)}, by {title_of(trained)}"
    )
    write_grid(side_by_side(images)[None], out, [], labels, title)


def encode_pictures(
    trained: TrainedVAE, out: Path, pictures: Sequence[str], data: str | None, split: Split
) -> tuple[int, int]:
    """Write codes as npz or csv; see `ecmvae.training.vae_picture_command.encode`. Returns rows and width."""
    samples = chosen_samples(trained, pictures, data, split)
    codes = trained.encode(samples)
    if out.suffix.lower() == ".csv":
        rows = zip(samples.names, codes.tolist(), strict=True)
        header = ["name", *(f"z{number}" for number in range(codes.shape[1]))]
        write_table(
            out,
            header,
            ([cut(name, 1000), *(f"{value:.7g}" for value in row)] for name, row in rows),
        )
        return codes.shape[0], codes.shape[1]
    arrays = {
        "names": np.array([cut(name, 1000) for name in samples.names]),
        "codes": codes.numpy(),
    }
    logvar = _logvar(trained, samples)
    if logvar is not None:
        arrays["logvar"] = logvar.numpy()
    if samples.factors.shape[1]:
        arrays["factors"] = samples.factors.numpy()
    with replacing(out) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for options
    return codes.shape[0], codes.shape[1]


def chosen_samples(
    trained: TrainedVAE, pictures: Sequence[str], data: str | None, split: Split
) -> Samples:
    """Single pictures where some are named, else a split of the data; a `UserError` if that is empty."""
    if pictures:
        if data is not None:
            raise UserError("give pictures or --data, not both")
        return read_pictures(pictures, trained.facts)
    source = trained.data(data)
    samples = source.samples(split)
    if not len(samples):
        raise UserError(
            f"{source.source} has no pictures in the split {split}: choose another --split"
        )
    return samples


def one_sample(trained: TrainedVAE, word: str, data: str | None) -> Samples:
    """A picture by its path, or by its name or number among the data's test pictures."""
    if Path(word).is_file():
        return read_pictures([word], trained.facts)
    source = trained.data(data)
    samples = source.samples("test")
    if word.isdecimal() and int(word) < len(samples):
        return samples.take([int(word)])
    everything = source.samples("all") if source.folder else samples
    if word in everything.names:
        return everything.take([everything.names.index(word)])
    hint = nearest_name(word, everything.names)
    raise UserError(
        f"{cut(word)!r} is neither a picture file nor the name or number (below {len(samples)}) of a picture of "
        f"{source.source}: {hint}"
    )


def joined(parts: Sequence[Samples]) -> Samples:
    """Samples one after the other."""
    return Samples(
        images=torch.cat([each.images for each in parts]),
        conditions={
            name: torch.cat([each.conditions[name] for each in parts])
            for name in parts[0].conditions
        },
        names=[name for each in parts for name in each.names],
        factors=torch.cat([each.factors for each in parts]),
    )


def write_table(out: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a csv, whole or not at all."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(header)
    table.writerows(rows)
    with replacing(out) as part:
        part.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))


def write_grid(
    rows: Tensor, out: Path, row_labels: list[str], column_labels: list[str], title: str
) -> None:
    """Write a grid (r, c, C, H, W) with its labels; small images are enlarged."""
    scale = min(SCALE, max(1, SHOWN // rows.shape[-1]))
    canvas = labelled_canvas(rows, row_labels, column_labels, title, scale=scale)
    with replacing(out) as part:
        save_canvas(canvas, part)


def title_of(trained: TrainedVAE) -> str:
    """Name of the model and of its folder."""
    name = trained.config.model.name
    return (
        f"{name} in {cut(trained.folder.name, 60)}"
        if trained.folder is not None and trained.folder.name
        else name
    )


def short_names(names: Sequence[str], limit: int = 18) -> list[str]:
    """The last parts of paths, for labels."""
    return [cut(Path(name).stem, limit) for name in names]


def side_by_side(images: Tensor) -> Tensor:
    """Several images of one sample (n, M, C, H, W) as one (n, C, H, M W)."""
    return rearrange(images, "n m c h w -> n c h (m w)") if images.ndim == 5 else images


def _from_conditions(trained: TrainedVAE, samples: Samples) -> Tensor:
    """Pictures of a multimodal model that is given the attributes alone."""
    model = trained.model
    assert isinstance(model, MultimodalVAE)
    given = {name: x.to(trained.device) for name, x in samples.conditions.items()}
    with torch.no_grad():
        return model.generate(given, ["image"])["image"].cpu()


@torch.no_grad()
def _logvar(trained: TrainedVAE, samples: Samples) -> Tensor | None:
    """Log-variances of a VAE's Gaussian posterior, in parts; None where there is no such posterior."""
    model, parts = trained.model, []
    if not isinstance(model, VAE):
        return None
    for start in range(0, len(samples), 250):
        posterior = model.posterior(trained.batch(samples.take(slice(start, start + 250)))["x"])
        if not isinstance(posterior, DiagonalGaussian):
            return None
        parts.append(posterior.logvar.cpu())
    return torch.cat(parts)


def _rows(images: Tensor, columns: int) -> Tensor:
    """(n, C, H, W) -> (rows, columns, C, H, W), the last row filled with white."""
    columns = min(columns, len(images))
    missing = -len(images) % columns
    padded = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    return rearrange(padded, "(r c) ... -> r c ...", c=columns)
