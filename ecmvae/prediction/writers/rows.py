"""Outputs for corpora: one row a mask with its COCO run lengths, as JSON lines or as Parquet (pyarrow's only door).

Columns are the same in both: `source` (as in the manifest), `frame` (from 0), `time` in seconds, `category_id` and
`category` as in the COCO JSON, `track_id` (the number that a thing keeps; null where things of one class are not told
apart), `score`, `area` in pixels, `bbox`, `height`, `width`, and `counts`, which
``pycocotools.mask.decode({"size": [height, width], "counts": counts})`` turns into the mask. Frames without a mask have
no row; how many frames there are is in the manifest.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ecmvae.data.rle import compress, run_lengths
from ecmvae.errors import UserError
from ecmvae.manifest import source_name
from ecmvae.prediction.objects import SoundingObject
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter
from ecmvae.prediction.writers.masks import measured

_GROUP = 5_000  # rows that are kept before they are compressed and written


class _RowWriter(FrameWriter):
    """Makes the rows; a subclass writes them."""

    uses_frame = False

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Add a row for each mask; the frame itself is not used."""
        for each in result.objects:
            self.add(self._row(result, each))

    @abstractmethod
    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""

    def _row(self, result: FrameResult, found: SoundingObject) -> dict[str, Any]:
        return {
            "source": source_name(self.info.path),
            "frame": result.index,
            "time": round(result.time, 6),
            "category_id": found.category,
            "category": found.name.encode(errors="backslashreplace").decode(),
            "track_id": found.track,
            **measured(found.mask, result),
            "height": found.mask.shape[0],
            "width": found.mask.shape[1],
            "counts": compress(run_lengths(found.mask)),
        }


class JsonlWriter(_RowWriter):
    """One JSON object a line for each mask."""

    ending, suffixes = ".masks.jsonl", (".jsonl",)

    def open(self) -> None:
        """Begin the file."""
        self._file = self.stack.enter_context(self.part.open("w", encoding="utf-8"))

    def add(self, row: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


class ParquetWriter(_RowWriter):
    """The same rows as a Parquet file, compressed with Zstandard."""

    ending, suffixes = ".masks.parquet", (".parquet",)

    @classmethod
    def check_installed(cls) -> None:
        """Raise a `UserError` when pyarrow is missing."""
        if find_spec("pyarrow") is None:
            raise UserError("Parquet needs pyarrow: pip install 'ecmvae[parquet]', or use --jsonl")

    def open(self) -> None:
        """Begin the file."""
        self.check_installed()
        import pyarrow
        from pyarrow.parquet import ParquetWriter as Writer

        text, whole = pyarrow.string(), pyarrow.int32()
        self._schema = pyarrow.schema(
            {
                "source": text, "frame": whole, "time": pyarrow.float64(), "category_id": whole, "category": text,
                "track_id": whole, "area": whole, "bbox": pyarrow.list_(whole), "score": pyarrow.float32(),
                "height": whole, "width": whole, "counts": text,
            }
        )  # fmt: skip
        self._table = pyarrow.Table.from_pylist
        self._rows: list[dict[str, Any]] = []
        self._writer = self.stack.enter_context(Writer(self.part, self._schema, compression="zstd"))

    def add(self, row: dict[str, Any]) -> None:
        """Keep the row, and write a group of them when it is full."""
        self._rows.append(row)
        if len(self._rows) == _GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what is left."""
        self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table(self._rows, schema=self._schema))
            self._rows = []
