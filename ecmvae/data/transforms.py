"""The geometry of a clip: square frames, and masks under the same geometry."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate


class ClipTransform:
    """Resize a clip to a square of `image_size` pixels.

    The aspect ratio is not kept, as in AVSBench's released preparation. Frames are resized with antialiasing, masks
    and object maps to the nearest pixel.
    """

    def __init__(self, image_size: int) -> None:
        self.size = (image_size, image_size)

    def __call__(
        self, frames: UInt8[np.ndarray, "t h w 3"], maps: UInt8[np.ndarray, "k h w"] | None = None
    ) -> tuple[UInt8[Tensor, "t 3 s s"], UInt8[Tensor, "k s s"] | None]:
        """Transform frames (T, H, W, 3) RGB, and masks or object numbers (K, H, W) of the same pictures, if any.

        Returns:
            Frames (T, 3, S, S) uint8, and maps (K, S, S) uint8.
        """
        planes = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> t c h w")
        if planes.shape[2:] != self.size:
            planes = interpolate(planes, size=self.size, mode="bilinear", antialias=True)
        if maps is None:
            return planes, None
        numbers = torch.from_numpy(np.ascontiguousarray(maps))
        if numbers.shape[1:] != self.size:
            numbers = interpolate(numbers[None], size=self.size, mode="nearest-exact")[0]
        return planes, numbers
