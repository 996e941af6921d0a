"""Small drawn pictures for outliers whose place is known: tissue with lesions, roads with fog or something on them.

Toys for teaching: every picture is computed from a few random numbers, so that what is unusual, and where, is exact.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Pictures = tuple[Float[Tensor, "n c s s"], Float[Tensor, "n 1 s s"]]
"""Images in [0, 1], and masks that are 1 where the unusual is."""


def tissue(count: int, *, size: int = 32, lesions: bool = False, seed: int = 0) -> Pictures:
    """Grey sections of a round organ with a smooth texture; with `lesions` each has one small bright spot.

    Args:
        count: Pictures.
        size: Height and width in pixels.
        lesions: Whether each has a lesion, of a radius of 6 to 11 % of the size, inside the organ.
        seed: Of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    y, x = _grid(size)
    numbers = torch.rand(count, 12, 1, 1, generator=generator)
    width, height = 0.7 + 0.2 * numbers[:, 0], 0.7 + 0.2 * numbers[:, 1]
    radius = (x / width) ** 2 + (y / height) ** 2
    organ = torch.sigmoid(12 * (1 - radius))
    texture = sum(
        torch.sin(
            (1 + 3 * numbers[:, 2 + 2 * k]) * (x if k % 2 else y) + 6.3 * numbers[:, 3 + 2 * k]
        )
        for k in range(3)
    )
    images = organ * (0.45 + 0.06 * texture)
    angle, distance = 6.3 * numbers[:, 8], 0.55 * numbers[:, 9].sqrt()
    away = (x - distance * angle.cos()) ** 2 + (y - distance * angle.sin()) ** 2
    spot = torch.sigmoid(40 * (1 - away / (0.12 + 0.1 * numbers[:, 10]) ** 2))
    masks = (spot > 0.5).float() if lesions else torch.zeros_like(spot)
    if lesions:
        images = images + 0.35 * spot
    images = images + 0.02 * torch.randn(images.shape, generator=generator)
    return images.clamp(0, 1)[:, None], masks[:, None]


def roads(count: int, *, size: int = 32, unusual: str = "", seed: int = 0) -> Pictures:
    """RGB views of a road with one car ahead, by day.

    Args:
        count: Pictures.
        size: Height and width in pixels.
        unusual: "" for none, "fog" for harsh weather (its mask is the whole picture), "obstacle" for something dark on
            the lane.
        seed: Of the random numbers.

    Raises:
        ValueError: For another word.
    """
    if unusual not in ("", "fog", "obstacle"):
        raise ValueError(f"unusual is '', 'fog' or 'obstacle', got {unusual!r}")
    generator = torch.Generator().manual_seed(seed)
    y, x = _grid(size)
    numbers = torch.rand(count, 10, 1, 1, generator=generator)
    bend, depth = 0.5 * (numbers[:, 0] - 0.5), (y + 0.1).clamp_min(0)
    ground = torch.sigmoid(30 * (y + 0.1)).expand(count, size, size)
    middle = bend * (1 - depth)
    road = ground * torch.sigmoid(25 * (0.08 + 0.75 * depth - (x - middle).abs()))
    line = road * torch.sigmoid(60 * (0.015 + 0.03 * depth - (x - middle).abs()))
    sky = _colour(0.55, 0.7, 0.9) * (0.85 + 0.15 * numbers[:, 1, None])
    grass = _colour(0.35, 0.5, 0.25) * (0.8 + 0.4 * numbers[:, 2, None])
    images = sky * (1 - ground[:, None]) + grass * ground[:, None]
    images = _paint(images, _colour(0.4, 0.4, 0.42), road)
    images = _paint(images, _colour(0.9, 0.9, 0.85), line)
    lane = torch.where(numbers[:, 3] < 0.5, -1.0, 1.0)
    paints = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.9, 0.9, 0.9]])[
        (3 * numbers[:, 4, 0, 0]).long()
    ]
    images = _paint(
        images, paints[:, :, None, None], _box(x, y, middle, lane, 0.15 + 0.5 * numbers[:, 5], 0.8)
    )
    masks = torch.zeros(count, size, size)
    if unusual == "fog":
        images, masks = 0.25 * images + 0.75 * 0.8, torch.ones_like(masks)
    elif unusual == "obstacle":
        thing = _box(x, y, middle, -lane, 0.25 + 0.35 * numbers[:, 6], 1.0)
        images, masks = _paint(images, _colour(0.15, 0.1, 0.05), thing), (thing > 0.5).float()
    images = images + 0.01 * torch.randn(images.shape, generator=generator)
    return images.clamp(0, 1), masks[:, None]


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of pixel centres from -1 to 1, (S, S) each."""
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return y, x


def _colour(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue])[None, :, None, None]


def _paint(images: Tensor, colour: Tensor, where: Tensor) -> Tensor:
    """Lay a colour over images (n, 3, S, S) where (n, S, S) is 1."""
    return images * (1 - where[:, None]) + colour * where[:, None]


def _box(
    x: Tensor, y: Tensor, middle: Tensor, lane: Tensor, depth: Tensor, height: float
) -> Tensor:
    """A soft box that stands on a lane at a depth from 0 (far) to 1 (near), (n, S, S)."""
    half = 0.06 + 0.2 * depth
    at = middle.gather(
        1,
        ((depth + 0.9) / 2 * y.shape[0]).long().clamp(0, y.shape[0] - 1).expand(-1, 1, y.shape[1]),
    )
    centre = at[..., :1] + lane * (0.04 + 0.37 * depth)
    bottom = depth - 0.1
    inside = torch.minimum(
        half - (x - centre).abs(), torch.minimum(bottom - y, y - (bottom - 1.5 * height * half))
    )
    return torch.sigmoid(40 * inside)
