"""Pictures of latent spaces and images. matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.vae.latent_space import p_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def image_canvas(images: Float[Tensor, "r c ch h w"], *, gap: int = 1) -> Float[Tensor, "ch height width"]:
    """One canvas of a grid of images, `gap` white pixels between them; gap 0 gives exactly r*H x c*W."""
    padded = torch.nn.functional.pad(images, (0, gap, 0, gap), value=1.0)
    canvas = rearrange(padded, "r c ch h w -> ch (r h) (c w)")
    return canvas[:, : canvas.shape[1] - gap, : canvas.shape[2] - gap] if gap else canvas


def save_canvas(
    canvas: Float[Tensor, "ch h w"], path: Path, *, scale: int = 1, text: dict[str, str] | None = None
) -> None:
    """Write a canvas in [0, 1], grey or RGB, as a PNG; `text` goes into the file (for instance the command)."""
    from PIL import Image, PngImagePlugin

    pixels = (canvas.clamp(0, 1) * 255).round().byte().cpu().numpy()
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    if scale > 1:
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    image.save(path, pnginfo=info, optimize=True)


def figure(rows: int = 1, columns: int = 1, *, size: float = 4.0) -> tuple[Figure, Any]:
    """A figure and its axes, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(size * columns, size * rows), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(rows, columns)


def latent_scatter(axes: Axes, codes: Float[Tensor, "n l"], labels: Int[Tensor, " n"], *, title: str = "") -> Axes:
    """Scatter of the first two latent dimensions, one colour and legend entry a class."""
    points = codes[:, :2].detach().cpu().numpy()
    classes = labels.cpu().numpy()
    for index, name in enumerate(np.unique(classes)):
        chosen = points[classes == name]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=3, linewidths=0, color=f"C{index % 10}", label=str(name))
    axes.legend(markerscale=3, fontsize=7)
    axes.set(title=title, xlabel="z1", ylabel="z2")
    return axes


def latent_histograms(codes: Float[Tensor, "n l"], *, dimensions: int = 50, columns: int = 10) -> Figure:
    """Histogram of each of the first `dimensions` latent dimensions against the density of N(0, 1)."""
    shown = min(dimensions, codes.shape[1])
    rows = -(-shown // columns)
    drawn, axes = figure(rows, min(columns, shown), size=1.4)
    grid = np.linspace(-4, 4, 81)
    density = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    values = codes.detach().cpu().numpy()
    for index, axis in enumerate(np.atleast_1d(axes).flat):
        if index >= shown:
            axis.axis("off")
            continue
        axis.hist(values[:, index], bins=40, range=(-4, 4), density=True, color="C0")
        axis.plot(grid, density, color="black", linewidth=0.8)
        axis.set_title(f"z{index + 1}", fontsize=6, pad=1)
        axis.set(xticks=[], yticks=[])
    return drawn


def p_value_plot(axes: Axes, codes: Float[Tensor, "n l"], *, title: str = "") -> Axes:
    """Sorted p-values Phi(z) of each dimension against the uniform distribution's: on the diagonal is on the prior."""
    ordered = p_values(codes.detach()).sort(0).values.cpu().numpy()
    expected = (np.arange(len(ordered)) + 0.5) / len(ordered)
    axes.plot(expected, ordered, linewidth=1)
    axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    axes.set(title=title, xlabel="uniform quantile", ylabel="p-value of the codes", aspect="equal")
    return axes
