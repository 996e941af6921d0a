"""Folders of predictions as PNG files, in the naming of each data set's release.

A mask file of S4 and MS3 holds the probability of each pixel, 0 to 255; a plain black-and-white or 1-bit mask is the
special case of a model that is sure of everything. A file of AVSS holds classes in the colours of the VOC palette, or
as grey levels that are class numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ecmvae.data.avss import NUM_CLASSES, RELEASED_SIZE, AVSSFiles, read_classes, save_classes
from ecmvae.data.images import picture_mode, read_indices, read_mask, read_probability, read_rgb
from ecmvae.data.layout import ClipFiles
from ecmvae.errors import UserError
from ecmvae.files import replacing


class MaskFolder:
    """Masks of S4 and MS3, in a tree like `gt_masks`: ``split/category/name/name_1.png`` (MS3 has no category).

    Files without the split, or without split and category, are found as well, and so are files counted from 0.

    Args:
        folder: Where the PNG files are, or will be.

    Attributes:
        predicts: The name, for metrics, of what `read` returns.
    """

    predicts = "logits"

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(self, clip: ClipFiles, predicted: Float[Tensor, "t 1 h w"]) -> None:
        """Write one clip's logits at the size of its ground truth; decisions at 0.5 survive the rounding to 8 bits."""
        probabilities = torch.sigmoid(predicted)
        size = read_mask(clip.mask(1)).shape
        if probabilities.shape[2:] != size:
            probabilities = interpolate(probabilities, size=size, mode="bilinear", antialias=True)
        # Rounded so that exactly 0.5, which is not above 0.5, becomes 127 and not 128.
        levels = (
            torch.ceil(probabilities[:, 0].double() * 255 - 0.5).clamp(0, 255).byte().cpu().numpy()
        )
        for k, level in enumerate(levels, start=1):
            with replacing(self.folder / clip.place / f"{clip.name}_{k}.png") as path:
                Image.fromarray(level).save(path)

    def read(self, clip: ClipFiles, num_frames: int, size: int) -> Float[Tensor, "t 1 s s"]:
        """Logits of one clip's predicted masks.

        Raises:
            UserError: When a file is missing, unreadable or not `size` x `size`.
        """
        places = dict.fromkeys([clip.place, Path(clip.category, clip.name), Path(clip.name)])
        namings = [(place, f"{clip.name}_{{}}.png", first) for place in places for first in (1, 0)]
        masks = []
        for path in _find(self.folder, clip.name, namings, num_frames):
            probability = read_probability(path)
            if probability.shape != (size, size):
                height, width = probability.shape
                raise UserError(
                    f"{path}: is {width} x {height} pixels but the ground truth is {size} x {size}"
                )
            masks.append(probability)
        return torch.logit(torch.from_numpy(np.stack(masks)))[:, None]


class ClassFolder:
    """Classes of AVSS, as its released script names them: ``uid/uid_0.png``.

    Labels laid out like the ground truth (``v1s/uid/labels_rgb/0.png``) and ``uid/0.png`` are found as well.
    """

    predicts = "classes"

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(self, clip: AVSSFiles, predicted: Int[Tensor, "t h w"]) -> None:
        """Write one clip's classes at the size of its pictures; padded frames are left out."""
        height, width = read_rgb(clip.frame(0)).shape[:2]
        for k, classes in enumerate(_resized(predicted[: clip.seconds], (height, width))):
            with replacing(self.folder / clip.name / f"{clip.name}_{k}.png") as path:
                save_classes(path, classes.byte().numpy())

    def read(self, clip: AVSSFiles, num_frames: int, size: int) -> Int[Tensor, "t s s"]:
        """Class numbers of one clip, background where it is padded.

        Raises:
            UserError: When a file is missing, unreadable, neither of the picture's size nor of the released
                evaluation's, or holds a number or colour that is not a class.
        """
        classes = torch.zeros(num_frames, size, size, dtype=torch.int64)
        for k, frame in enumerate(self._frames(clip, min(clip.seconds, num_frames))):
            classes[k] = _resized(torch.from_numpy(frame)[None], (size, size))[0]
        return classes

    def _frames(self, clip: AVSSFiles, count: int) -> Iterator[np.ndarray]:
        height, width = read_rgb(clip.frame(0)).shape[:2]
        namings = [
            (Path(clip.name), f"{clip.name}_{{}}.png", 0),
            (Path(clip.subset, clip.name, "labels_rgb"), "{}.png", 0),
            (Path(clip.name), "{}.png", 0),
        ]
        for path in _find(self.folder, clip.name, namings, count):
            classes = _read_classes(path)
            if classes.shape not in ((height, width), (RELEASED_SIZE, RELEASED_SIZE)):
                here = f"{classes.shape[1]} x {classes.shape[0]}"
                raise UserError(
                    f"{path}: is {here} pixels; a prediction has the size of its picture, {width} x {height}, or the "
                    f"{RELEASED_SIZE} x {RELEASED_SIZE} of the released evaluation"
                )
            yield classes


def _find(folder: Path, name: str, namings: list[tuple[Path, str, int]], count: int) -> list[Path]:
    """The files of `count` frames, in the first naming (folder, pattern, first number) that has them."""
    for place, pattern, first in namings:
        paths = [folder / place / pattern.format(k) for k in range(first, first + count)]
        if paths[0].is_file() and paths[-1].is_file():
            return paths
    place, pattern, first = namings[0]
    wanted = place / pattern.format(first + count - 1)
    raise UserError(f"{folder}: no prediction for clip {name}, expected {wanted}")


def _read_classes(path: Path) -> np.ndarray:
    """Class numbers (H, W) of a coloured file, or of a grey one that holds them as they are."""
    if picture_mode(path) != "L":
        return read_classes(path)
    classes = read_indices(path)
    if classes.max() >= NUM_CLASSES:
        raise UserError(
            f"{path}: holds {classes.max()}, but classes go from 0 to {NUM_CLASSES - 1}"
        )
    return classes


def _resized(classes: Tensor, size: tuple[int, int]) -> Tensor:
    """Class numbers (T, H, W) at another size, each pixel the nearest one's, as int64."""
    return interpolate(classes[None].float(), size=size, mode="nearest-exact")[0].long()
