"""From pictures to what the model sees: square, normalised frames, and masks under the same geometry.

Preparation, training, evaluation and prediction all come through here, so that they cannot drift apart.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of R, G and B in [0, 1] that every backbone was trained with."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of R, G and B in [0, 1]."""


class ClipTransform:
    """Resize a clip to a square and normalise it.

    The aspect ratio is not kept, as in AVSBench's released preparation. Frames are resized with antialiasing, masks
    and object maps to the nearest pixel.

    Args:
        image_size: Side of the square, in pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def __call__(
        self, frames: UInt8[np.ndarray, "t h w 3"], maps: UInt8[np.ndarray, "k h w"] | None = None
    ) -> tuple[Float[Tensor, "t 3 s s"], UInt8[Tensor, "k s s"] | None]:
        """Transform one clip.

        Args:
            frames: (T, H, W, 3) RGB.
            maps: (K, H, W) masks or object numbers of the same pictures, or None.

        Returns:
            Frames (T, 3, S, S) float32, ImageNet-normalised, and maps (K, S, S) uint8, or None.
        """
        return normalise(self._resize(frames)), None if maps is None else self._nearest(maps)

    def _resize(self, frames: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(frames))
        if pixels.shape[1:3] == (self.image_size, self.image_size):
            return pixels
        planes = rearrange(pixels, "t h w c -> t c h w")
        size = (self.image_size, self.image_size)
        return rearrange(interpolate(planes, size=size, mode="bilinear", antialias=True), "t c h w -> t h w c")

    def _nearest(self, maps: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(maps))
        if pixels.shape[1:] == (self.image_size, self.image_size):
            return pixels
        return interpolate(pixels[None], size=(self.image_size, self.image_size), mode="nearest-exact")[0]


def normalise(frames: UInt8[Tensor, "*t h w 3"]) -> Float[Tensor, "*t 3 h w"]:
    """Scale RGB bytes to the ImageNet statistics that the backbones expect."""
    mean, std = (frames.new_tensor(values, dtype=torch.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return rearrange((frames.float() / 255 - mean) / std, "... h w c -> ... c h w")
