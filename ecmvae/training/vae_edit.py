"""Editing by attribute directions, and outliers with a map of where: `ecmvae vae edit | outliers`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ecmvae.data.picture_folder import Split
from ecmvae.errors import UserError
from ecmvae.foreign_text import cut
from ecmvae.training.vae_data import RunData, Samples, as_float
from ecmvae.training.vae_model import BATCH, TrainedVAE
from ecmvae.training.vae_pictures import (
    chosen_samples,
    joined,
    short_names,
    side_by_side,
    title_of,
    write_grid,
    write_table,
)
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.latent_space import attribute_direction
from ecmvae.vae.likelihoods import BernoulliLikelihood, GaussianLikelihood, Likelihood
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.vae import ConditionalVAE

logger = logging.getLogger(__name__)

Ranking = Literal["excess", "likelihood"]

REFERENCE = 1000
"""Training pictures that a score is compared with."""


def edit_images(
    trained: TrainedVAE,
    out: Path,
    attribute: str,
    across: str | None,
    pictures: Sequence[str],
    data: str | None,
    *,
    count: int,
    span: float,
    steps: int,
) -> None:
    """Write pictures with more and less of an attribute; see `ecmvae.training.vae_picture_command.edit`."""
    source = trained.data(data)
    codes = trained.encode(source.samples("train"))
    directions = [
        direction_of(source, codes, name) for name in (attribute, across) if name is not None
    ]
    samples = chosen_samples(trained, pictures, None if pictures else data, "test")
    samples = samples.take(slice(0, 1 if across is not None else count))
    own, strengths = trained.encode(samples), torch.linspace(-span, span, steps)
    labels = [f"{value:+.2g}" if abs(value) > 1e-5 * span else "0" for value in strengths.tolist()]
    if across is None:
        edited = own[:, None] + strengths[:, None] * directions[0]  # (n, steps, L)
        images = _decoded(trained, edited, samples)
        grid = torch.cat([side_by_side(as_float(samples.images))[:, None], images], 1)
        title = (
            f"{cut(attribute, 40)} by {title_of(trained)}: times the mean difference of the codes"
        )
        write_grid(grid, out, short_names(samples.names), ["original", *labels], title)
        return
    edited = own[0] + strengths[:, None, None] * directions[0] + strengths[:, None] * directions[1]
    images = _decoded(trained, edited, joined([samples] * steps))
    title = (
        f"{cut(attribute, 40)} (down) and {cut(across, 40)} (across) of {cut(samples.names[0], 40)}"
    )
    write_grid(images, out, labels, labels, f"{title}, by {title_of(trained)}")


def direction_of(
    source: RunData, codes: Float[Tensor, "n l"], attribute: str
) -> Float[Tensor, " l"]:
    """Mean code of the training pictures with an attribute minus that of those without.

    Raises:
        UserError: If the attribute does not exist, or all or none of the pictures have it.
    """
    has = source.column(attribute, "train")
    return attribute_direction(codes[has], codes[~has])


def find_outliers(
    trained: TrainedVAE,
    out: Path,
    table: Path,
    pictures: Sequence[str],
    data: str | None,
    split: Split,
    *,
    by: Ranking,
    count: int,
    num_samples: int,
    seed: int,
) -> list[tuple[str, float]]:
    """Write a table of scores and the most unusual pictures; see `ecmvae.training.vae_picture_command.outliers`.

    Returns:
        Name and score of every picture, the most unusual one first.
    """
    samples = chosen_samples(trained, pictures, data, split)
    torch.manual_seed(seed)
    costs = unusualness(trained, samples, num_samples)
    scores = costs + _best(trained, samples) if by == "excess" else costs
    reference = _reference(trained, num_samples, by)
    order = scores.argsort(descending=True, stable=True).tolist()
    header = ["name", "score", "negative_log_likelihood"]
    header += ["share_of_training_below"] if reference is not None else []
    rows = []
    for index in order:
        row: list[object] = [
            cut(samples.names[index], 1000),
            f"{scores[index]:.6g}",
            f"{costs[index]:.6g}",
        ]
        if reference is not None:
            row.append(f"{(reference < scores[index]).double().mean():.4f}")
        rows.append(row)
    shown = samples.take(order[:count])
    images, again, where = (
        as_float(shown.images),
        trained.reconstruct(shown),
        deviance_of(trained, shown),
    )
    coloured = [each.expand(*each.shape[:-3], 3, -1, -1) for each in (images, again)]
    grid = torch.stack([side_by_side(each) for each in (*coloured, _heat(where))])
    labels = [
        f"{name}: {scores[index]:.0f}"
        for name, index in zip(short_names(shown.names), order, strict=False)
    ]
    title = (
        f"The most unusual of {len(samples)} pictures to {title_of(trained)}, with scores in nats"
    )
    write_table(table, header, rows)
    write_grid(grid, out, ["picture", "reconstruction", "where"], labels, title)
    return [(samples.names[index], float(scores[index])) for index in order]


@torch.no_grad()
def unusualness(trained: TrainedVAE, samples: Samples, num_samples: int = 1) -> Float[Tensor, " n"]:
    """High where a model does not know a picture: -log p(x|code) of an autoencoder, else -IWAE(K), in nats.

    A multimodal model is given the pictures alone.
    """
    size = _draws_at_once(trained, num_samples)
    parts = [torch.zeros(0)]
    for start in range(0, len(samples), size):
        batch = trained.batch(samples.take(slice(start, start + size)))
        try:
            parts.append(_cost(trained, batch, num_samples).cpu())
        except ValueError as error:
            raise UserError(
                f"{trained.config.model.name} gives no log-likelihoods: {error}"
            ) from error
    return torch.cat(parts)


def _cost(trained: TrainedVAE, batch: Mapping[str, Tensor], num_samples: int) -> Tensor:
    """-log p(x|code) or -IWAE(K) of one batch, (n,)."""
    model = trained.model
    if isinstance(model, AutoEncoder):
        log_likelihood: Tensor = model(batch["x"]).log_likelihood
        return -log_likelihood
    if isinstance(model, MultimodalVAE):
        shown = {name: x for name, x in batch.items() if name not in trained.facts.conditions}
        return -model.log_likelihood(shown, num_samples)
    if isinstance(model, ConditionalVAE):
        return -model.log_likelihood(batch["x"], batch["y"], num_samples)
    return -model.log_likelihood(batch["x"], None, num_samples)


def deviance_of(trained: TrainedVAE, samples: Samples) -> Float[Tensor, "n *views h w"]:
    """Where the reconstruction of each picture is wrong: `deviance_map`, summed over the channels."""
    values = deviance_map(
        _likelihood(trained), trained.reconstruct(samples), as_float(samples.images)
    )
    return values.sum(-3)


def deviance_map(
    likelihood: Likelihood, mean: Float[Tensor, "n ..."], x: Float[Tensor, "n ..."]
) -> Tensor:
    """Nats that each value loses against a decoder that gives it exactly: log p(x|x) - log p(x|mean), 0 or more.

    Their sum is the difference of the log-likelihoods. Other likelihoods than Bernoulli and Gaussian give the squared
    error.
    """
    if isinstance(likelihood, BernoulliLikelihood):
        mean = mean.clamp(1e-6, 1 - 1e-6)
        return torch.xlogy(x, x / mean) + torch.xlogy(1 - x, (1 - x) / (1 - mean))
    squared = (x - mean).square()
    if isinstance(likelihood, GaussianLikelihood):
        return squared / (2 * torch.as_tensor(likelihood.logvar).detach().exp().to(squared))
    return squared


def best_log_likelihood(likelihood: Likelihood, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """Log p(x|x) in nats, of a decoder that gives x exactly: what no model can exceed, and grey values alone decide.

    0 for other likelihoods than Bernoulli and Gaussian.
    """
    if isinstance(likelihood, BernoulliLikelihood):
        bits: Tensor = torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)
        return bits.flatten(1).sum(1)
    if isinstance(likelihood, GaussianLikelihood):
        return likelihood.log_prob(x, x).detach()
    return x.new_zeros(len(x))


def _decoded(
    trained: TrainedVAE, codes: Float[Tensor, "r c l"], samples: Samples
) -> Float[Tensor, "r c ..."]:
    """Pictures of a table of codes, each row under the conditions of its sample."""
    repeated = samples.take(torch.arange(len(codes)).repeat_interleave(codes.shape[1]))
    conditions = repeated if isinstance(trained.model, ConditionalVAE) else None
    images = side_by_side(trained.decode(codes.flatten(0, 1), conditions))
    return rearrange(images, "(r c) ... -> r c ...", r=len(codes))


def _reference(trained: TrainedVAE, num_samples: int, by: Ranking) -> Tensor | None:
    """Scores of some training pictures; None, with a warning, where they cannot be read."""
    try:
        train = trained.data().samples("train")
    except UserError as error:
        logger.warning("scores are not compared with the training pictures: %s", error)
        return None
    step = -(-len(train) // REFERENCE)
    some = train.take(slice(0, None, step))
    costs = unusualness(trained, some, num_samples)
    return costs + _best(trained, some) if by == "excess" else costs


def _best(trained: TrainedVAE, samples: Samples) -> Float[Tensor, " n"]:
    """`best_log_likelihood` of the pictures."""
    return best_log_likelihood(_likelihood(trained), as_float(samples.images))


def _likelihood(trained: TrainedVAE) -> Likelihood:
    """That of the pictures; of several pictures it is one kind."""
    model = trained.model
    if not isinstance(model, MultimodalVAE):
        return model.likelihood
    return model.likelihood(
        next(name for name in model.names if name not in trained.facts.conditions)
    )


def _heat(values: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n 3 h w"]:
    """White for nothing, red, black for the 99.9th percentile and above."""
    top = torch.quantile(values.flatten()[: 2**24], 0.999).clamp_min(1e-12)
    strength = (values / top).clamp(0, 1)
    red = 1 - (2 * strength - 1).clamp_min(0)
    rest = 1 - (2 * strength).clamp_max(1)
    return torch.stack([red, rest, rest], -3)


def _draws_at_once(trained: TrainedVAE, num_samples: int) -> int:
    """Samples whose K reconstructions fit into a few dozen MB."""
    values = torch.Size(trained.facts.event_shape).numel() * num_samples
    return max(1, min(BATCH, 4_000_000 // values))
