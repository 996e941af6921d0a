"""Several pictures of one digit: a small PolyMNIST made of scikit-learn's 8x8 digits, without a download.

As in Sutter et al., "Generalized multimodal ELBO", 2021 (arXiv:2105.02470), the modalities of a sample share the
digit's class and nothing else: each shows another digit of that class, drawn in the modality's own manner on a random
cut of the modality's own background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

SIZE = 16
"""Height and width of a picture."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one modality shows a digit.

    Attributes:
        ink: RGB in [0, 1]; None is the complement of the background.
        waves: Largest number of waves across the background: higher is finer.
        stroke: Coverage (n, 1, H, W) -> coverage, in [0, 1].
    """

    ink: tuple[float, float, float] | None
    waves: int
    stroke: Callable[[Tensor], Tensor]


def _bold(coverage: Tensor) -> Tensor:
    return 0.5 * (coverage + F.max_pool2d(coverage, 3, stride=1, padding=1))


def _outline(coverage: Tensor) -> Tensor:
    return F.max_pool2d(coverage, 3, stride=1, padding=1) - coverage


def _slanted(coverage: Tensor) -> Tensor:
    shear = torch.tensor([[1.0, 0.4, 0.0], [0.0, 1.0, 0.0]]).expand(len(coverage), 2, 3)
    return F.grid_sample(
        coverage,
        F.affine_grid(shear, list(coverage.shape), align_corners=False),
        align_corners=False,
    )


STYLES = (
    Style(ink=(1.0, 1.0, 1.0), waves=2, stroke=lambda coverage: coverage),
    Style(ink=(1.0, 0.8, 0.1), waves=4, stroke=_bold),
    Style(ink=(0.3, 1.0, 0.4), waves=3, stroke=_slanted),
    Style(ink=None, waves=1, stroke=lambda coverage: coverage),
    Style(ink=(1.0, 0.5, 0.7), waves=2, stroke=_outline),
)
"""The five modalities."""


def poly_digits(
    digits: Float[Tensor, "m 1 h w"], labels: Int[Tensor, " m"], count: int, seed: int
) -> tuple[Float[Tensor, "n styles 3 size size"], Int[Tensor, " n"]]:
    """Draw samples of five pictures each.

    Args:
        digits: Grey digits in [0, 1].
        labels: Their classes.
        count: Samples to draw.
        seed: Of the choice of digits and of the backgrounds' cuts. The backgrounds themselves are always the same.

    Returns:
        Pictures in [0, 1], and the class of each sample.
    """
    generator = torch.Generator().manual_seed(seed)
    by_class = labels.argsort(stable=True)
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    drawn = labels[torch.randint(len(labels), (count,), generator=generator)]
    pictures = []
    for number, style in enumerate(STYLES):
        place = (torch.rand(count, generator=generator) * sizes[drawn]).long()
        chosen = digits[by_class[starts[drawn] + place]]
        large = F.interpolate(chosen, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        coverage = style.stroke(large)  # (n, 1, H, W)
        ground = _cuts(_background(style.waves, number), count, generator)
        ink = 1.0 - ground if style.ink is None else torch.tensor(style.ink).view(1, 3, 1, 1)
        pictures.append((1.0 - coverage) * ground + coverage * ink)
    return torch.stack(pictures, 1), drawn


def _background(waves: int, seed: int, size: int = 4 * SIZE) -> Float[Tensor, "3 h w"]:
    """Smooth random colours in [0, 0.6]: a sum of eight plane waves."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(size) / SIZE
    frequencies = waves * (2.0 * torch.rand(8, 2, generator=generator) - 1.0)
    phases = torch.rand(3, 8, 1, 1, generator=generator)
    # (8, H, W)
    turns = frequencies[:, 0, None, None] * axis[:, None] + frequencies[:, 1, None, None] * axis
    height = torch.cos(2.0 * torch.pi * (turns + phases)).sum(1)  # (3, H, W)
    low, high = height.amin((1, 2), keepdim=True), height.amax((1, 2), keepdim=True)
    return 0.6 * (height - low) / (high - low)


def _cuts(
    picture: Float[Tensor, "3 h w"], count: int, generator: torch.Generator
) -> Float[Tensor, "n 3 size size"]:
    """Windows of SIZE x SIZE at random places."""
    corners = torch.randint(picture.shape[-1] - SIZE + 1, (2, count, 1), generator=generator)
    rows, columns = corners + torch.arange(SIZE)  # (n, SIZE) each
    return picture[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
