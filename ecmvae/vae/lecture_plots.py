"""The lectures' own figures: mixtures, the bound and its two sets of parameters, codes against the prior.

S. J. D. Prince, "Understanding deep learning", 2023, chapter 17 (mixtures, the bound); D. Foster, "Generative deep
learning", 2019, chapter 3 (codes and samples, p-values). matplotlib is imported when a figure is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latent_space import nearest, p_values, uniformity
from ecmvae.vae.plots import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image


def mixture_joint(
    weights: Float[Tensor, " c"],
    means: Float[Tensor, " c"],
    stds: Float[Tensor, " c"],
    x: Float[Tensor, " n"],
) -> Float[Tensor, "c n"]:
    """Pr(x, z = c) = weight_c N(x; mean_c, std_c^2) at n points; its sum over c is the mixture's density."""
    return (
        weights[:, None]
        * DiagonalGaussian(means[:, None, None], 2 * stds.log()[:, None, None])
        .log_prob(x[None, :, None])
        .exp()
    )


def mixture_figure(
    weights: Float[Tensor, " c"],
    means: Float[Tensor, " c"],
    stds: Float[Tensor, " c"],
    x: Float[Tensor, " n"],
) -> Figure:
    """A mixture of Gaussians: (a) weighted components and their sum, (b) the joint density over x and discrete z."""
    joint = mixture_joint(weights, means, stds, x).numpy()
    drawn, (left, right) = figure(1, 2, size=4.2)
    for index, density in enumerate(joint):
        left.fill_between(
            x, density, alpha=0.4, color=f"C{index}", label=f"z = {index + 1}: {weights[index]:g} N"
        )
    left.plot(x, joint.sum(0), color="black", label="Pr(x), their sum")
    left.set(title="a) the marginal Pr(x)", xlabel="x", ylabel="density")
    left.legend(fontsize=8)
    extent = (float(x[0]), float(x[-1]), 0.5, len(joint) + 0.5)
    shown = right.imshow(
        joint, aspect="auto", origin="lower", extent=extent, cmap="Greys", interpolation="nearest"
    )
    for index, density in enumerate(joint):
        right.plot(x, index + 0.55 + 0.8 * density / joint.max(), color=f"C{index}")
    right.set(
        title="b) the joint Pr(x, z)", xlabel="x", ylabel="z", yticks=range(1, len(joint) + 1)
    )
    drawn.colorbar(shown, ax=right, label="Pr(x, z)")
    return drawn


@dataclass(frozen=True)
class OneWeightModel:
    """z ~ N(0, 1), x = phi z + noise: one decoder weight phi, one observation; all in closed form.

    `observed` is x, `variance` the noise's.
    """

    observed: float = 2.0
    variance: float = 0.4

    def log_likelihood(self, phi: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Log Pr(x | phi) = log N(x; 0, phi^2 + variance)."""
        total = phi**2 + self.variance
        return -0.5 * (self.observed**2 / total + total.log() + math.log(2 * math.pi))

    def posterior(self, phi: float) -> DiagonalGaussian:
        """Pr(z | x, phi), over (1,)."""
        precision = 1 + phi**2 / self.variance
        mean = torch.tensor([phi * self.observed / self.variance / precision], dtype=torch.float64)
        return DiagonalGaussian(mean, torch.full_like(mean, -math.log(precision)))

    def elbo(self, phi: Float[Tensor, " p"], q: DiagonalGaussian) -> Float[Tensor, " p"]:
        """The bound as a function of phi for a fixed q over (1,), whose mean and variance are theta."""
        error = (self.observed - phi * q.mean) ** 2 + phi**2 * q.variance
        return -0.5 * (error / self.variance + math.log(2 * math.pi * self.variance)) - q.kl()

    def best_phi(self, q: DiagonalGaussian) -> float:
        """Where the bound of a fixed q is largest."""
        return float(self.observed * q.mean / (q.mean**2 + q.variance))


def elbo_figure(
    axes: Axes, model: OneWeightModel, *, start: float = 0.5, steps: int = 3
) -> list[tuple[float, float]]:
    """The bound below the log-likelihood: a new theta moves to another curve, a new phi moves along one.

    From `start`, each step sets theta to the posterior (up to the black curve) and then phi to the curve's maximum.

    Returns:
        The corners of the path, (phi, bound), two for each step.
    """
    phi = torch.linspace(0.4, 1.9, 400, dtype=torch.float64)
    axes.plot(phi, model.log_likelihood(phi), color="black", linewidth=2, label="log Pr(x | phi)")
    path, here = [], start
    for step in range(steps):
        q = model.posterior(here)
        axes.plot(
            phi, model.elbo(phi, q), color=f"C{step}", linewidth=1, label=f"ELBO, theta {step + 1}"
        )
        along = torch.linspace(here, model.best_phi(q), 50, dtype=torch.float64)
        walked = model.elbo(along, q)
        axes.plot(along, walked, color=f"C{step}", linewidth=4)
        path += [(here, float(walked[0])), (model.best_phi(q), float(walked[-1]))]
        here = model.best_phi(q)
    for begin, end in zip(path[1::2], path[2::2], strict=False):
        axes.annotate("", end, begin, arrowprops={"arrowstyle": "->", "linewidth": 1.5})
    axes.plot(*path[0], marker="o", color="black")
    axes.set(
        title="phi moves along, theta (arrow) between",
        xlabel="phi",
        ylabel="nats",
        ylim=(-4.2, -1.9),
    )
    axes.legend(fontsize=8, loc="lower center")
    return path


def means_and_samples(
    means: Float[Tensor, "n 2"],
    samples: Float[Tensor, "k 2"],
    images: Float[Tensor, "k ch h w"],
    *,
    columns: int = 6,
) -> Figure:
    """Codes of the data in black, samples of the prior in blue, numbered; right, what the samples decode to."""
    rows = -(-len(samples) // columns)
    drawn, (left, right) = figure(1, 2, size=4.6)
    left.scatter(
        *means.detach().numpy().T,
        color="black",
        alpha=0.5,
        s=6,
        linewidths=0,
        label="z_mean of the data",
    )
    left.scatter(*samples.numpy().T, color="C0", s=20, label="samples of N(0, I)")
    for number, point in enumerate(samples.tolist(), 1):
        left.annotate(
            str(number), point, xytext=(3, 3), textcoords="offset points", fontsize=7, color="C0"
        )
    left.set(title="codes and samples", xlabel="z1", ylabel="z2", aspect="equal")
    left.legend(fontsize=8)
    right.set(title="the samples, decoded")
    right.axis("off")
    for number, image in enumerate(images.detach().clamp(0, 1).numpy()):
        row, column = divmod(number, columns)
        cell = right.inset_axes(
            (column / columns, 1 - (row + 1) / rows, 0.92 / columns, 0.8 / rows)
        )
        cell.imshow(np.moveaxis(image, 0, -1).squeeze(), cmap="Greys", vmin=0, vmax=1)
        cell.set_title(str(number + 1), fontsize=7, pad=1, color="C0")
        cell.axis("off")
    return drawn


def class_p_values(
    axes: Axes,
    codes: Float[Tensor, "n l"],
    labels: Int[Tensor, " n"],
    *,
    title: str = "",
    names: Sequence[str] = (),
) -> Axes:
    """The p-values Phi(z1), Phi(z2) of codes in the unit square, one colour a class.

    Where the codes follow the prior the square is filled evenly, and a class takes a share of the area equal to its
    share of the data.
    """
    points, classes = p_values(codes[:, :2].detach()).numpy(), labels.numpy()
    for index, label in enumerate(np.unique(classes)):
        chosen = points[classes == label]
        name = names[index] if names else str(label)
        axes.scatter(
            chosen[:, 0], chosen[:, 1], color=f"C{index % 10}", label=name, s=3, linewidths=0
        )
    axes.legend(markerscale=3, fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(
        title=title,
        xlabel="p-value of z1",
        ylabel="p-value of z2",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    return axes


def uniformity_p_values(codes: Float[Tensor, "n l"]) -> Float[Tensor, " l"]:
    """Kolmogorov-Smirnov test of each dimension against N(0, 1): the chance of so large a distance by chance alone.

    Kolmogorov's limit distribution with Stephens' correction for n, right to about 0.01 from n = 20 on.
    """
    root = math.sqrt(len(codes))
    scaled = (root + 0.12 + 0.11 / root) * uniformity(codes).double()
    k = torch.arange(1, 101, dtype=torch.float64)
    terms = torch.where(k % 2 == 1, 2.0, -2.0) * torch.exp(-2 * k**2 * scaled[:, None] ** 2)
    return torch.where(scaled < 0.2, 1.0, terms.sum(1).clamp(0, 1)).to(codes.dtype)


@dataclass(frozen=True, kw_only=True)
class CodeNotes:
    """The lecture's three notes on a latent space, as numbers."""

    area_ratio: float
    """1. Some classes take a small area and others a large one: largest over smallest, by root determinant of their
    covariance."""
    offset: float
    """2. The codes are not symmetrical about 0: distance of their mean from it."""
    extent: float
    """2. They are not bounded: the largest absolute value."""
    gap_share: float
    """3. There are gaps: the share of samples further from every code than 95 % of codes are from their neighbours."""


def code_notes(
    codes: Float[Tensor, "n l"], labels: Int[Tensor, " n"], samples: Float[Tensor, "k l"]
) -> CodeNotes:
    """Measure codes, and `samples` as one would draw new ones: from the box of an autoencoder, a VAE's prior."""
    groups = [codes[labels == label].double() for label in torch.unique(labels)]
    areas = torch.stack(
        [torch.linalg.det(torch.cov(group.T)).clamp_min(0).sqrt() for group in groups]
    )
    reach = nearest(codes, codes, 2)[0][:, 1].quantile(0.95)
    return CodeNotes(
        area_ratio=float(areas.max() / areas.min()),
        offset=float(codes.mean(0).norm()),
        extent=float(codes.abs().max()),
        gap_share=float((nearest(samples, codes)[0][:, 0] > reach).float().mean()),
    )


def as_picture(canvas: Float[Tensor, "ch h w"]) -> Image.Image:
    """A canvas in [0, 1] as a PIL image, which a notebook shows."""
    from PIL import Image

    pixels = (canvas.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
