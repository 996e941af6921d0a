"""Folders of predicted masks as PNG files in AVSBench's naming: written for others, read from others.

A file holds the probability of each pixel, 0 to 255; a plain black-and-white or 1-bit mask is the special case of a
model that is sure of everything. The folder mirrors `gt_masks`: ``split/category/name/name_1.png`` (MS3 has no
category). Files without the split, or without split and category, are found as well, and so are files counted from 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ecmvae.data.images import read_mask, read_probability
from ecmvae.data.layout import ClipFiles
from ecmvae.errors import UserError
from ecmvae.files import replacing


class PredictionFolder:
    """Predicted masks of a data set.

    Args:
        folder: Where the PNG files lie, or shall lie.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(self, clip: ClipFiles, probabilities: Float[Tensor, "t h w"]) -> None:
        """Write one clip at the size of its ground truth; the decision "above 0.5" survives the rounding to 8 bits."""
        size = read_mask(clip.mask(1)).shape
        if probabilities.shape[1:] != size:
            probabilities = interpolate(probabilities[:, None], size=size, mode="bilinear", antialias=True)[:, 0]
        # Rounded so that exactly 0.5, which is not above 0.5, becomes 127 and not 128.
        levels = torch.ceil(probabilities.double() * 255 - 0.5).clamp(0, 255).byte().cpu().numpy()
        for k, level in enumerate(levels, start=1):
            with replacing(self.folder / clip.place / f"{clip.name}_{k}.png") as path:
                Image.fromarray(level).save(path)

    def read(self, clip: ClipFiles, num_frames: int, size: int) -> Float[Tensor, "t s s"]:
        """Logits of one clip's predicted masks.

        Args:
            clip: The clip.
            num_frames: Frames T.
            size: Side in pixels that every mask must have.

        Raises:
            UserError: When a file is missing, unreadable or of another size.
        """
        masks = []
        for path in self._find(clip, num_frames):
            probability = read_probability(path)
            if probability.shape != (size, size):
                height, width = probability.shape
                raise UserError(f"{path}: is {width} x {height} pixels but the ground truth is {size} x {size}")
            masks.append(probability)
        return torch.logit(torch.from_numpy(np.stack(masks)))

    def _find(self, clip: ClipFiles, num_frames: int) -> list[Path]:
        """The files of all frames, in the first of the known places where there is any."""
        places = dict.fromkeys([clip.place, Path(clip.category, clip.name), Path(clip.name)])
        for place in places:
            folder = self.folder / place
            if (folder / f"{clip.name}_{num_frames}.png").is_file():
                return [folder / f"{clip.name}_{k}.png" for k in range(1, num_frames + 1)]
            if (folder / f"{clip.name}_0.png").is_file():
                return [folder / f"{clip.name}_{k}.png" for k in range(num_frames)]
        wanted = clip.place / f"{clip.name}_{num_frames}.png"
        raise UserError(f"{self.folder}: no prediction for clip {clip.name}, expected {wanted}")
