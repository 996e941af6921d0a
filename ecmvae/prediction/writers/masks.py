"""Outputs that keep the masks themselves: a folder of PNG pictures, or COCO annotations.

The JSON has COCO's form for pictures, and with it the fields of its video extension (YouTube-VIS, LVVIS): `videos`,
`video_id` and `frame_id` of each image, and `track_id` of each thing that was tracked.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from ecmvae.data.rle import compress, run_lengths
from ecmvae.prediction.classes import PALETTE
from ecmvae.prediction.objects import SOUNDING, SoundingObject
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter


class MasksWriter(FrameWriter):
    """A folder with one 8-bit PNG a frame, `000000.png`, `000001.png` ...

    Masks of 0 and 255; of a model with classes, class numbers with the VOC palette.
    """

    ending, suffixes = ".masks", ("",)
    uses_frame = False

    def open(self) -> None:
        """Make the folder."""
        self.part.mkdir()

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Write the mask of a frame; the frame itself is not used."""
        from PIL import Image

        if result.classes is None:
            picture = Image.fromarray(result.mask.astype(np.uint8) * 255)
        else:
            picture = Image.fromarray(result.classes)
            picture.putpalette(PALETTE.tobytes())
        picture.save(self.part / f"{result.index:06d}.png")


class CocoWriter(FrameWriter):
    """JSON with one image a frame and compressed run-length masks, as pycocotools reads them.

    One mask a frame of category 1, "sounding object"; of a model with classes, one mask a class, whose category is its
    number; where things of one class are told apart, one mask a thing, whose `track_id` is the number that it keeps.
    Frames without a mask have no annotation. Images are called `NAME/000000.jpg` after the video and the frame,
    so that names stay unique when several files are joined; no such pictures are written.
    """

    ending, suffixes, label = ".coco.json", (".json",), "COCO JSON"
    uses_frame = False

    def open(self) -> None:
        """Begin the list of annotations, which is written as it grows."""
        self._file = self.stack.enter_context(
            self.part.open("w", encoding="utf-8", errors="backslashreplace")
        )
        self._images: list[tuple[int, float]] = []  # index and time
        self._annotations = 0
        self._categories: dict[int, str] = {}
        self._file.write('{"annotations": [')

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask or masks; the frame itself is not used."""
        self._images.append((result.index, result.time))
        if result.classes is None:
            self._categories[1] = SOUNDING
        for each in result.objects:
            self._categories[each.category] = each.name
            self._annotate(result, each)

    def _annotate(self, result: FrameResult, found: SoundingObject) -> None:
        track = {} if found.track is None else {"track_id": found.track}
        annotation = {
            "id": self._annotations + 1,
            "image_id": result.index,
            "category_id": found.category,
            **track,
            "iscrowd": 0,
            **measured(found.mask, result),
            "segmentation": {
                "size": list(found.mask.shape),
                "counts": compress(run_lengths(found.mask)),
            },
        }
        self._file.write((",\n" if self._annotations else "\n") + json.dumps(annotation))
        self._annotations += 1

    def finish(self) -> None:
        """Write categories and images, and close the document."""
        categories = [{"id": number, "name": name} for number, name in self._categories.items()]
        size = {"height": self.info.height, "width": self.info.width}
        video = {"id": 1, "name": self.info.path.name, **size, "length": len(self._images)}
        self._file.write(
            f'\n],\n"categories": {json.dumps(categories)},\n"videos": [{json.dumps(video)}],\n"images": ['
        )
        for number, (index, time) in enumerate(self._images):
            name = f"{self.info.path.stem}/{index:06d}.jpg"
            image = {
                "id": index,
                "file_name": name,
                **size,
                "video_id": 1,
                "frame_id": index,
                "time": round(time, 6),
            }
            self._file.write((",\n" if number else "\n") + json.dumps(image))
        self._file.write("\n]}\n")


def measured(mask: Bool[np.ndarray, "h w"], result: FrameResult) -> dict[str, Any]:
    """COCO's `area` in pixels, `bbox` (left, top, width, height) and `score` (mean probability) of a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "score": round(float(result.probability[mask].mean()), 4),
    }
