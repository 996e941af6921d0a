"""Folders of predicted classes as coloured PNG files, named as AVSS' released script names them.

A file is ``uid/uid_0.png``, ``uid/uid_1.png`` ... in the colours of the VOC palette. Labels laid out like the ground
truth (``v1s/uid/labels_rgb/0.png``) and ``uid/0.png`` are found as well, and so are grey files that hold class numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import interpolate

from ecmvae.data.avss import NUM_CLASSES, RELEASED_SIZE, AVSSFiles, read_classes, save_classes
from ecmvae.data.images import picture_mode, read_indices, read_rgb
from ecmvae.errors import UserError
from ecmvae.files import replacing


class ClassFolder:
    """Predicted classes of AVSS' clips.

    Args:
        folder: Where the PNG files lie, or shall lie.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(self, clip: AVSSFiles, classes: Int[Tensor, "t h w"]) -> None:
        """Write the frames of one clip at the size of its pictures; padded frames are left out."""
        height, width = read_rgb(clip.frame(0)).shape[:2]
        for k, each in enumerate(_resized(classes[: clip.seconds], (height, width))):
            with replacing(self.folder / clip.name / f"{clip.name}_{k}.png") as path:
                save_classes(path, each.byte().numpy())

    def read(self, clip: AVSSFiles, num_frames: int) -> Int[Tensor, "t s s"]:
        """Predicted classes of one clip at the size of the released evaluation, background where it is padded.

        Args:
            clip: The clip.
            num_frames: Frames T.

        Raises:
            UserError: When a file is missing, unreadable, neither of the pictures' size nor of the released one, or
                holds what is no class.
        """
        real = min(clip.seconds, num_frames)
        answer = torch.zeros(num_frames, RELEASED_SIZE, RELEASED_SIZE, dtype=torch.int64)
        height, width = read_rgb(clip.frame(0)).shape[:2]
        for k, path in enumerate(self._find(clip, real)):
            classes = _read(path)
            if classes.shape not in ((height, width), (RELEASED_SIZE, RELEASED_SIZE)):
                here = f"{classes.shape[1]} x {classes.shape[0]}"
                raise UserError(
                    f"{path}: is {here} pixels; a prediction has the size of its picture, {width} x {height}, or the "
                    f"{RELEASED_SIZE} x {RELEASED_SIZE} of the released evaluation"
                )
            answer[k] = _resized(torch.from_numpy(classes)[None], (RELEASED_SIZE, RELEASED_SIZE))[0]
        return answer

    def _find(self, clip: AVSSFiles, count: int) -> list[Path]:
        """The files of the first `count` frames, in the first of the known places where there is any."""
        for place, pattern in (
            (Path(clip.name), f"{clip.name}_{{}}.png"),
            (Path(clip.subset, clip.name, "labels_rgb"), "{}.png"),
            (Path(clip.name), "{}.png"),
        ):
            paths = [self.folder / place / pattern.format(k) for k in range(count)]
            if paths[-1].is_file():
                return paths
        wanted = Path(clip.name, f"{clip.name}_{count - 1}.png")
        raise UserError(f"{self.folder}: no prediction for clip {clip.name}, expected {wanted}")


def _read(path: Path) -> np.ndarray:
    """Class numbers (H, W) of a coloured file, or of a grey one that holds them as they are."""
    if picture_mode(path) != "L":
        return read_classes(path)
    classes = read_indices(path)
    if classes.max() >= NUM_CLASSES:
        raise UserError(f"{path}: holds {classes.max()}, but classes go from 0 to {NUM_CLASSES - 1}")
    return classes


def _resized(classes: Tensor, size: tuple[int, int]) -> Tensor:
    """Class numbers (T, H, W) at another size, each pixel the nearest one's, as int64."""
    return interpolate(classes[None].float(), size=size, mode="nearest-exact")[0].long()
