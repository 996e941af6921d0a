"""The geometry of a clip: square frames, and masks under the same geometry."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


class ClipTransform:
    """Resize a clip to a square.

    The aspect ratio is not kept, as in AVSBench's released preparation. Frames are resized with antialiasing, masks
    and object maps to the nearest pixel.

    Args:
        image_size: Side of the square, in pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def __call__(
        self, frames: UInt8[np.ndarray, "t h w 3"], maps: UInt8[np.ndarray, "k h w"] | None = None
    ) -> tuple[UInt8[Tensor, "t 3 s s"], UInt8[Tensor, "k s s"] | None]:
        """Transform one clip.

        Args:
            frames: (T, H, W, 3) RGB.
            maps: (K, H, W) masks or object numbers of the same pictures, or None.

        Returns:
            Frames (T, 3, S, S) uint8, and maps (K, S, S) uint8, or None.
        """
        return self._resize(frames), None if maps is None else self._nearest(maps)

    def _resize(self, frames: NDArray[np.uint8]) -> Tensor:
        planes = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> t c h w")
        size = (self.image_size, self.image_size)
        if planes.shape[2:] == size:
            return planes
        return interpolate(planes, size=size, mode="bilinear", antialias=True)

    def _nearest(self, maps: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(maps))
        if pixels.shape[1:] == (self.image_size, self.image_size):
            return pixels
        return interpolate(pixels[None], size=(self.image_size, self.image_size), mode="nearest-exact")[0]
