"""Pictures of latent spaces and images. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.foreign_text import cut
from ecmvae.vae.latent_space import p_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

_MARGIN = 4
"""Pixels around a label."""


def image_canvas(
    images: Float[Tensor, "r c ch h w"], *, gap: int = 1
) -> Float[Tensor, "ch height width"]:
    """One canvas of a grid of images, `gap` white pixels between them; gap 0 gives exactly r*H x c*W."""
    padded = torch.nn.functional.pad(images, (0, gap, 0, gap), value=1.0)
    canvas = rearrange(padded, "r c ch h w -> ch (r h) (c w)")
    return canvas[:, : canvas.shape[1] - gap, : canvas.shape[2] - gap] if gap else canvas


def labelled_canvas(
    rows: Float[Tensor, "r c ch h w"],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    *,
    scale: int = 1,
    gap: int = 2,
    text_size: int = 12,
) -> Float[Tensor, "3 height width"]:
    """A grid of images with a title above it, the rows' labels to its left and the columns' above them, black on white.

    Column labels that are wider than a column are turned by 90 degrees. A long title is broken into lines.

    Args:
        rows: Images in [0, 1], grey (ch = 1) or RGB (ch = 3).
        row_labels: One for each row, or none.
        column_labels: One for each column, or none.
        title: Shown above all, "" for none.
        scale: Whole number by which the images are enlarged; the text is not.
        gap: White pixels between the images.
        text_size: Height of the letters in pixels.

    Raises:
        ValueError: If there are labels, but not one for each row or column.
    """
    for name, labels, count in (
        ("row", row_labels, len(rows)),
        ("column", column_labels, rows.shape[1]),
    ):
        if labels and len(labels) != count:
            raise ValueError(
                f"{len(labels)} {name} labels for {count} {name}s: give one for each, or none"
            )
    from PIL import Image

    images = (
        rows.expand(-1, -1, 3, -1, -1).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    )
    grid = image_canvas(images, gap=gap)
    height, width = images.shape[-2], images.shape[-1]
    left = [_text(label, text_size) for label in row_labels]
    above = [_text(label, text_size) for label in column_labels]
    if any(label.width > width for label in above):
        above = [label.transpose(Image.Transpose.ROTATE_90) for label in above]
    margin = max((label.width + 2 * _MARGIN for label in left), default=0)
    header = max((label.height + 2 * _MARGIN for label in above), default=0)
    full = max(margin + grid.shape[2], min(_text(title, text_size).width + 2 * _MARGIN, 400))
    lines = _wrapped(title, full - 2 * _MARGIN, text_size)
    top = sum(line.height + _MARGIN for line in lines) + (2 * _MARGIN if lines else 0)
    canvas = Image.new("L", (full, top + header + grid.shape[1]), 255)
    down = _MARGIN
    for line in lines:
        canvas.paste(line, (_MARGIN, down))
        down += line.height + _MARGIN
    for number, label in enumerate(above):
        middle = margin + number * (width + gap) + (width - label.width) // 2
        canvas.paste(label, (middle, top + header - _MARGIN - label.height))
    for number, label in enumerate(left):
        middle = top + header + number * (height + gap) + (height - label.height) // 2
        canvas.paste(label, (margin - _MARGIN - label.width, middle))
    result = torch.from_numpy(np.array(canvas)).float().div(255).expand(3, -1, -1).clone()
    result[:, top + header :, margin : margin + grid.shape[2]] = grid
    return result


def save_canvas(
    canvas: Float[Tensor, "ch h w"],
    path: Path,
    *,
    scale: int = 1,
    text: dict[str, str] | None = None,
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


def _text(text: str, size: int) -> Image.Image:
    """One line of black text on white, as tall for every text."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    ascent, descent = (
        font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (size, size // 4)
    )
    line = cut(text, 200)
    picture = Image.new("L", (max(1, round(font.getlength(line))), ascent + descent), 255)
    ImageDraw.Draw(picture).text((0, 0), line, fill=0, font=font)
    return picture


def _wrapped(text: str, width: int, size: int) -> list[Image.Image]:
    """The words of a text in lines that are at most `width` pixels wide; one word may be wider."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text(f"{lines[-1]} {word}", size).width <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [_text(line, size) for line in lines]


def figure(rows: int = 1, columns: int = 1, *, size: float = 4.0) -> tuple[Figure, Any]:
    """A figure and its axes, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(size * columns, size * rows), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(rows, columns)


def latent_scatter(
    axes: Axes, codes: Float[Tensor, "n l"], labels: Int[Tensor, " n"], *, title: str = ""
) -> Axes:
    """Scatter of the first two latent dimensions, one colour and legend entry a class."""
    points = codes[:, :2].detach().cpu().numpy()
    classes = labels.cpu().numpy()
    for index, name in enumerate(np.unique(classes)):
        chosen = points[classes == name]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=3, linewidths=0, color=f"C{index % 10}", label=str(name)
        )
    axes.legend(markerscale=3, fontsize=7)
    axes.set(title=title, xlabel="z1", ylabel="z2")
    return axes


def latent_histograms(
    codes: Float[Tensor, "n l"], *, dimensions: int = 50, columns: int = 10
) -> Figure:
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
