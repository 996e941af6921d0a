"""Files that a prediction becomes: each writer takes one frame at a time, and its file appears whole or not at all."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from ecmvae.data.video import VideoInfo, VideoWriter
from ecmvae.files import replacing
from ecmvae.prediction import render
from ecmvae.prediction.classes import PALETTE, by_area, class_name
from ecmvae.prediction.result import FrameResult

OutputKind = Literal["overlay", "cutout", "mask-video", "masks", "coco", "npz"]

_LOUDNESS_SECONDS = 5.0  # shown in the strip


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """How the overlay video looks."""

    style: render.Style = "contour"
    """contour (tint and outline), heatmap (probability) or spotlight (silent parts dark)."""
    loudness: bool = True
    """A strip with the loudness of the last five seconds at the foot of the picture."""
    uncertainty: bool = False
    """A second picture to the right that shows the uncertainty."""


class FrameWriter(ABC):
    """Writes one output; leaving the block with an error removes what was begun."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    @abstractmethod
    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a source frame and its answer."""

    def _finish(self) -> None:  # noqa: B027  # most writers have nothing left to do
        """Runs after the last frame, before the file gets its name."""

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with self._stack:
                self._finish()
        else:
            self._stack.__exit__(kind, error, trace)


class OverlayVideo(FrameWriter):
    """The source with its masks drawn in and with its own sound, H.264 in MP4."""

    def __init__(self, path: Path, info: VideoInfo, options: OverlayOptions, audio_track: int = 0) -> None:
        super().__init__()
        self._options = options
        self._recent: deque[tuple[float, float]] = deque()
        self._video = self._stack.enter_context(
            VideoWriter(
                path,
                width=info.width * (2 if options.uncertainty else 1),
                height=info.height,
                fps=info.fps,
                copy_audio_from=info.path,
                audio_track=audio_track,
                sample_aspect=info.sample_aspect,
            )
        )

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a source frame and its answer."""
        picture = _drawn(frame, result, self._options.style)
        if self._options.loudness:
            self._recent.append((result.time, result.audio_activity))
            while self._recent[0][0] < result.time - _LOUDNESS_SECONDS:
                self._recent.popleft()
            times, levels = np.array(self._recent).T
            moments = np.linspace(result.time - _LOUDNESS_SECONDS, result.time, 256)
            picture = render.with_loudness_strip(picture, np.interp(moments, times, levels, left=0.0))
        if self._options.uncertainty:
            picture = render.beside(picture, render.heat(result.uncertainty))
        self._video.write(picture, result.time)


class CutoutVideo(FrameWriter):
    """Only what sounds, on a transparent ground, VP9 with alpha in WebM, with the video's own sound."""

    def __init__(self, path: Path, info: VideoInfo, audio_track: int = 0) -> None:
        super().__init__()
        self._video = self._stack.enter_context(
            VideoWriter(
                path,
                width=info.width,
                height=info.height,
                fps=info.fps,
                codec="vp9",
                alpha=True,
                quality=30,
                copy_audio_from=info.path,
                audio_track=audio_track,
                sample_aspect=info.sample_aspect,
            )
        )

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a source frame and its answer."""
        self._video.write(render.cutout(frame, result.mask), result.time)


class MaskVideo(FrameWriter):
    """White masks on black, H.264 in MP4, without sound."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        super().__init__()
        self._video = self._stack.enter_context(
            VideoWriter(
                path,
                width=info.width,
                height=info.height,
                fps=info.fps,
                quality=12,
                sample_aspect=info.sample_aspect,
            )
        )

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not needed."""
        self._video.write(render.mask_picture(result.mask), result.time)


class MaskPictures(FrameWriter):
    """A folder with one 8-bit PNG a frame: `000000.png`, `000001.png` ...

    Masks are 0 or 255. Of a model with classes a pixel is the number of its class, and the palette has its colour.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._folder = self._stack.enter_context(replacing(path))
        self._folder.mkdir()

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not needed."""
        if result.classes is None:
            picture = Image.fromarray(result.mask.astype(np.uint8) * 255)
        else:
            picture = Image.fromarray(result.classes)
            picture.putpalette(PALETTE.tobytes())
        picture.save(self._folder / f"{result.index:06d}.png")


class CocoMasks(FrameWriter):
    """COCO annotations as JSON: one image a frame and an uncompressed run-length mask of what sounds in it.

    Pictures without a mask have no annotation. The category is 1, "sounding object"; a model with classes gives a mask
    for each class of the frame, whose category is the number of the class.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        super().__init__()
        self._file = self._stack.enter_context(
            self._stack.enter_context(replacing(path)).open("w", encoding="utf-8", errors="backslashreplace")
        )
        self._name, self._height, self._width = info.path.name, info.height, info.width
        self._images: list[tuple[int, float]] = []
        self._annotations = 0
        self._categories: dict[int, str] = {}
        self._file.write('{"annotations": [')

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not needed."""
        self._images.append((result.index, result.time))
        if result.classes is None:
            self._categories[1] = "sounding object"
            if result.mask.any():
                self._annotate(result, result.mask, category=1)
            return
        for number in by_area(result.classes):
            self._categories[number] = class_name(number, result.class_names)
            self._annotate(result, result.classes == number, category=number)

    def _annotate(self, result: FrameResult, mask: Bool[np.ndarray, "h w"], category: int) -> None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        annotation = {
            "id": self._annotations + 1,
            "image_id": result.index,
            "category_id": category,
            "iscrowd": 1,  # COCO's mark for run-length masks
            "area": int(mask.sum()),
            "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            "score": round(float(result.probability[mask].mean()), 4),
            "segmentation": {"size": [self._height, self._width], "counts": run_lengths(mask)},
        }
        self._file.write((",\n" if self._annotations else "\n") + json.dumps(annotation))
        self._annotations += 1

    def _finish(self) -> None:
        categories = [{"id": number, "name": name} for number, name in self._categories.items()]
        self._file.write(f'\n],\n"categories": {json.dumps(categories)},\n"images": [')
        for number, (index, time) in enumerate(self._images):
            image = {
                "id": index,
                "file_name": self._name,
                "frame": index,
                "time": round(time, 6),
                "height": self._height,
                "width": self._width,
            }
            self._file.write((",\n" if number else "\n") + json.dumps(image))
        self._file.write("\n]}\n")


class ArrayFile(FrameWriter):
    """NumPy's `.npz`: `masks` (F, H, W) bool, `timestamps` (F,), `audio_activity` (F,), `mean_probability` (F,).

    A model with classes adds `classes` (F, H, W) uint8, 0 outside the masks, and `class_names`.

    The frames are collected in compressed files beside it, since the length stands before them in the format.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = self._stack.enter_context(replacing(path))
        self._spools: dict[str, _Spool] = {}
        self._class_names: tuple[str, ...] = ()
        self._rows: list[tuple[float, float, float]] = []

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not needed."""
        self._append("masks", result.mask)
        if result.classes is not None:
            self._append("classes", result.classes)
            self._class_names = result.class_names
        self._rows.append((result.time, result.audio_activity, float(result.probability.mean())))

    def _append(self, name: str, pixels: np.ndarray) -> None:
        """Add one frame to the array of that name."""
        if name not in self._spools:
            path = self._path.with_suffix(f".{name}.spool")
            self._stack.callback(path.unlink, missing_ok=True)
            file = gzip.open(path, "wb", compresslevel=1)  # noqa: SIM115  # the stack closes it
            self._spools[name] = _Spool(path, self._stack.enter_context(file), pixels.dtype.str, pixels.shape)
        self._spools[name].file.write(pixels.tobytes())

    def _finish(self) -> None:
        columns = np.array(self._rows, np.float64).reshape(-1, 3).T
        arrays = dict(zip(("timestamps", "audio_activity", "mean_probability"), columns, strict=True))
        if "classes" in self._spools:
            arrays["class_names"] = np.array(self._class_names, dtype=str)
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, spool in self._spools.items():
                spool.file.close()
                header = {"descr": spool.descr, "fortran_order": False, "shape": (len(self._rows), *spool.shape)}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry, gzip.open(spool.path) as frames:
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(frames, entry)
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)


@dataclass(frozen=True)
class _Spool:
    """Frames on their way into an array: a compressed file, and the type and shape of one frame."""

    path: Path
    file: gzip.GzipFile
    descr: str
    shape: tuple[int, ...]


def _drawn(frame: UInt8[np.ndarray, "h w 3"], result: FrameResult, style: render.Style) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with its masks, and with the names of its classes where there are any."""
    if result.classes is None:
        return render.overlay(frame, result.probability, mask=result.mask, style=style)
    if style == "contour":
        picture = render.class_overlay(frame, result.classes, PALETTE)
    else:
        picture = render.overlay(frame, result.probability, mask=result.mask, style=style)
    entries = [(class_name(k, result.class_names), tuple(PALETTE[k].tolist())) for k in by_area(result.classes)]
    return render.with_legend(picture, entries)


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """COCO's run lengths: how many 0, then 1, then 0 ... column by column; the first may be 0."""
    column_major = mask.ravel(order="F")
    changes = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    bounds = np.concatenate([[0], changes, [column_major.size]])
    runs: list[int] = np.diff(bounds).tolist()
    return [0, *runs] if column_major[0] else runs
