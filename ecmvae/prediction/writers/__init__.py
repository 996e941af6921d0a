"""Output formats of `ecmvae predict`, one class each.

A format is a subclass of `ecmvae.prediction.writers.base.FrameWriter`. From outside the package it is registered, named
by its import path, or passed as a class::

    @WRITERS.register("gif")
    class GifWriter(FrameWriter): ...

    ecmvae predict dog.mp4 --also my_package.gif:GifWriter
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.registry import Registry

if TYPE_CHECKING:
    from ecmvae.prediction.writers.base import FrameWriter

_HERE = "ecmvae.prediction.writers"

WRITERS: Registry[type[FrameWriter]] = Registry(
    "output format",
    {
        "overlay": f"{_HERE}.videos:OverlayWriter",
        "mask_video": f"{_HERE}.videos:MaskVideoWriter",
        "cutout": f"{_HERE}.videos:CutoutWriter",
        "reframe": f"{_HERE}.reframe:ReframeWriter",
        "masks": f"{_HERE}.masks:MasksWriter",
        "coco": f"{_HERE}.masks:CocoWriter",
        "panoptic": f"{_HERE}.panoptic:PanopticWriter",
        "npz": f"{_HERE}.npz:NpzWriter",
        "jsonl": f"{_HERE}.rows:JsonlWriter",
        "parquet": f"{_HERE}.rows:ParquetWriter",
        "activity": f"{_HERE}.activity:ActivityWriter",
        "otio": f"{_HERE}.activity:OtioWriter",
        "edl": f"{_HERE}.activity:EdlWriter",
    },
    needs=("ending", "suffixes", "write"),
)
"""Name -> writer of the format; the names are the switches of `ecmvae predict`."""


def writer_for(path: Path, preferred: Iterable[str] = ()) -> str:
    """The format that a file name asks for by its suffix.

    Args:
        path: The output.
        preferred: Formats to look at first, by name or import path.

    Raises:
        UserError: If no format has this suffix.
    """
    names: list[str] = [*preferred, *WRITERS]
    for name in names:
        if path.suffix.lower() in WRITERS.get(name).suffixes:
            return name
    known = dict.fromkeys(
        suffix for name in names for suffix in WRITERS.get(name).suffixes if suffix
    )
    raise UserError(
        f"{show_path(path)}: unknown kind of output {path.suffix!r}, use {', '.join(known)} or a folder name"
    )
