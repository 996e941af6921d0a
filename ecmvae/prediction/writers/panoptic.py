"""Pictures of numbers, one a thing: COCO's panoptic format, as panopticapi reads it."""

from __future__ import annotations

import json

import numpy as np
from jaxtyping import UInt8

from ecmvae.prediction.classes import PALETTE
from ecmvae.prediction.objects import SoundingObject
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter
from ecmvae.prediction.writers.masks import measured

JSON_FILE = "panoptic.json"
_UNTRACKED = 0xFFFF00
"""Added to the class of a mask that has no number of its own, beside those that have one."""


class PanopticWriter(FrameWriter):
    """A folder with a PNG a frame, `000000.png` ..., and `panoptic.json`.

    A pixel's segment is R + 256 G + 65536 B, and 0 where nothing sounds: the number that a thing keeps through the
    video, or the number of the class where things of one class are not told apart. The JSON says which class each is.
    """

    ending = ".panoptic"
    uses_frame = False

    def open(self) -> None:
        """Make the folder."""
        self.part.mkdir()
        self._file = self.stack.enter_context(
            (self.part / JSON_FILE).open("w", encoding="utf-8", errors="backslashreplace")
        )
        self._file.write('{"annotations": [')
        self._images: list[tuple[int, float]] = []  # index and time
        self._categories: dict[int, str] = {}

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Write the picture of a frame; the frame itself is not used."""
        from PIL import Image

        numbers = np.zeros(result.mask.shape, np.uint32)
        segments = []
        for each in result.objects:
            number = _segment(each, tracked=result.small_things is not None)
            numbers[each.mask] = number
            self._categories[each.category] = each.name
            about = measured(each.mask, result)
            segments.append({"id": number, "category_id": each.category, "iscrowd": 0, **about})
        picture = np.stack(
            [numbers & 255, numbers >> 8 & 255, numbers >> 16 & 255], axis=-1
        ).astype(np.uint8)
        name = f"{result.index:06d}.png"
        Image.fromarray(picture).save(self.part / name)
        annotation = {"image_id": result.index, "file_name": name, "segments_info": segments}
        self._file.write((",\n" if self._images else "\n") + json.dumps(annotation))
        self._images.append((result.index, result.time))

    def finish(self) -> None:
        """Write categories and images, and close the document."""
        categories = [
            {"id": number, "name": name, "isthing": 1, "color": PALETTE[number].tolist()}
            for number, name in self._categories.items()
        ]
        size = {"height": self.info.height, "width": self.info.width}
        images = [
            {"id": index, "file_name": f"{index:06d}.png", **size, "time": round(time, 6)}
            for index, time in self._images
        ]
        self._file.write(
            f'\n],\n"categories": {json.dumps(categories)},\n"images": {json.dumps(images)}}}\n'
        )


def _segment(found: SoundingObject, *, tracked: bool) -> int:
    if found.track is not None:
        return found.track
    return found.category + (_UNTRACKED if tracked else 0)
