"""Walking in latent space: traverse, morph, arithmetic, editing, the manifold grid, retrieval.

Pure functions over codes; what needs a model takes its `encode` and `decode`. Pictures are drawn by `plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.vae.gaussian import DiagonalGaussian, check_count
from ecmvae.vae.vae import VAE


def morph(
    start: Float[Tensor, "*shape"], end: Float[Tensor, "*shape"], alphas: Float[Tensor, " a"]
) -> Float[Tensor, "a *shape"]:
    """Codes (1 - alpha) start + alpha end, one row an alpha; the ends are exact."""
    return torch.lerp(start, end, alphas.view(-1, *[1] * start.ndim))


def attribute_direction(
    positive: Float[Tensor, "p l"], negative: Float[Tensor, "q l"]
) -> Float[Tensor, " l"]:
    """Mean code of samples with an attribute minus that of samples without: add alpha times it to any code."""
    if not len(positive) or not len(negative):
        raise ValueError("an attribute direction needs samples with and without the attribute")
    return positive.mean(0) - negative.mean(0)


def traverse(
    code: Float[Tensor, " l"], dimensions: Sequence[int], values: Float[Tensor, " v"]
) -> Float[Tensor, "... l"]:
    """Copies of a code with one or two dimensions set to each of `values`.

    One index gives (V, L), two give (V, V, L): first index down, second across.
    """
    if len(dimensions) not in (1, 2) or not all(0 <= index < len(code) for index in dimensions):
        raise ValueError(
            f"give one or two dimensions between 0 and {len(code) - 1}, got {list(dimensions)}"
        )
    grid = torch.meshgrid(*[values] * len(dimensions), indexing="ij")
    result = code.expand(*grid[0].shape, -1).clone()
    for index, value in zip(dimensions, grid, strict=True):
        result[..., index] = value
    return result


def manifold_grid(side: int) -> Float[Tensor, "side side 2"]:
    """Codes at the inverse normal CDF of the centres of a side x side grid on the unit square, of equal prior mass."""
    centres = (torch.arange(check_count(side, "side"), dtype=torch.float64) + 0.5) / side
    z: Tensor = torch.special.ndtri(centres)
    return torch.stack(torch.meshgrid(z, z, indexing="ij"), -1)


def p_values(codes: Float[Tensor, "n l"]) -> Float[Tensor, "n l"]:
    """Phi(z): uniform on (0, 1) in each dimension where the aggregate posterior is the prior."""
    probabilities: Tensor = torch.special.ndtr(codes)
    return probabilities


def uniformity(codes: Float[Tensor, "n l"]) -> Float[Tensor, " l"]:
    """Kolmogorov-Smirnov distance of each dimension's p-values to the uniform distribution, between 0 and 1."""
    ordered = p_values(codes).sort(0).values
    count = len(codes)
    steps = torch.arange(1, count + 1, dtype=codes.dtype, device=codes.device)[:, None] / count
    return torch.maximum(steps - ordered, ordered - (steps - 1.0 / count)).amax(0)


def box_samples(
    codes: Float[Tensor, "n l"], count: int, generator: torch.Generator | None = None
) -> Float[Tensor, "count l"]:
    """Uniform codes in the box [min, max] of an autoencoder's codes: samples for a model without a prior."""
    low, high = codes.amin(0), codes.amax(0)
    uniform = torch.rand(
        check_count(count, "count"), codes.shape[1], generator=generator, dtype=codes.dtype
    )
    return low + (high - low) * uniform.to(codes.device)


def nearest(
    queries: Float[Tensor, "q l"], database: Float[Tensor, "n l"], k: int = 1
) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
    """Distances and indices of the k nearest database rows of each query, nearest first."""
    if not 1 <= k <= len(database):
        raise ValueError(
            f"k must be between 1 and {len(database)}, the size of the database, got {k}"
        )
    distances, indices = torch.cdist(queries, database).topk(k, largest=False)
    return distances, indices


def recall_at_k(
    queries: Float[Tensor, "q l"],
    query_labels: Int[Tensor, " q"],
    database: Float[Tensor, "n l"],
    labels: Int[Tensor, " n"],
    k: int = 1,
) -> float:
    """Share of queries with their own label among the k nearest rows."""
    indices = nearest(queries, database, k)[1]
    return float((labels[indices] == query_labels[:, None]).any(1).float().mean())


def roughness(
    decode: Callable[[Tensor], Tensor],
    codes: Float[Tensor, "n l"],
    step: float,
    generator: torch.Generator | None = None,
) -> float:
    """Mean distance between images a random latent step of given length apart: low where the space is continuous."""
    direction = torch.randn(codes.shape, generator=generator, dtype=codes.dtype).to(codes.device)
    direction = step * direction / direction.norm(dim=1, keepdim=True)
    return float((decode(codes + direction) - decode(codes)).flatten(1).norm(dim=1).mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """The five steps of an image edit, each kept.

    Attributes:
        posterior: 1. Encode: q(z|x).
        z: 2. Sample (n, L).
        edited: 3. Modify (n, L).
        parameters: 4. Decode: logits or means (n, *event).
        images: 5. Sample: the edited images (n, *event), or their means.
    """

    posterior: DiagonalGaussian
    z: Tensor
    edited: Tensor
    parameters: Tensor
    images: Tensor


@torch.no_grad()
def edit(
    model: VAE,
    x: Float[Tensor, "n ..."],
    change: Callable[[Tensor], Tensor],
    *,
    sample: bool = False,
) -> Edit:
    """Encode, sample, modify, decode, sample.

    `change` maps codes (n, L) to codes (n, L), for instance `lambda z: z + 2 * smile`. `sample=False` takes the mean in
    steps 2 and 5, for a sharp and repeatable picture.
    """
    posterior = model.encode(x)
    z = posterior.rsample() if sample else posterior.mode
    edited = change(z)
    parameters = model.decode(edited)
    images = model.likelihood.sample(parameters) if sample else model.likelihood.mean(parameters)
    return Edit(posterior=posterior, z=z, edited=edited, parameters=parameters, images=images)
