"""NumPy's `.npz`: masks and the curves over time."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers.base import FrameWriter


class _Spool(NamedTuple):
    """Frames on their way into an array: a compressed file, and the type and shape of one frame."""

    file: gzip.GzipFile
    descr: str
    shape: tuple[int, ...]


class NpzWriter(FrameWriter):
    """`masks` (F, H, W) bool, `timestamps` (F,), `audio_activity` (F,), `mean_probability` (F,).

    A model with classes adds `classes` (F, H, W) uint8, 0 outside the masks, and `class_names`; one that says how
    surely each of them sounds, `class_activity` (F, C) for `class_names[1:]`; one that tells things of one class apart,
    `things` (F, H, W) int32, the number that each keeps, 0 outside the masks. The frames are first collected in
    compressed files beside the output, because the format states the number of frames before them.
    """

    ending, suffixes, label = ".npz", (".npz",), "NumPy arrays"
    uses_frame = False

    def open(self) -> None:
        """Begin without frames."""
        self._spools: dict[str, _Spool] = {}
        self._class_names: tuple[str, ...] = ()
        self._rows: list[tuple[float, float, float]] = []

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append the mask; the frame itself is not used."""
        self._append("masks", result.mask)
        if result.classes is not None:
            self._append("classes", result.classes)
            self._class_names = result.class_names
        if result.things is not None:
            self._append("things", result.things)
        if result.class_activity is not None:
            self._append("class_activity", result.class_activity)
        self._rows.append((result.time, result.audio_activity, float(result.probability.mean())))

    def _append(self, name: str, pixels: np.ndarray) -> None:
        """Add one frame to the array of that name."""
        if name not in self._spools:
            path = self.part.with_suffix(f".{name}.spool")
            self.stack.callback(path.unlink, missing_ok=True)
            file = gzip.open(path, "wb", compresslevel=1)  # noqa: SIM115  # the stack closes it
            self._spools[name] = _Spool(
                self.stack.enter_context(file), pixels.dtype.str, pixels.shape
            )
        self._spools[name].file.write(pixels.tobytes())

    def finish(self) -> None:
        """Put the arrays together."""
        columns = np.array(self._rows, np.float64).reshape(-1, 3).T
        arrays = dict(
            zip(("timestamps", "audio_activity", "mean_probability"), columns, strict=True)
        )
        if "classes" in self._spools:
            arrays["class_names"] = np.array(self._class_names, dtype=str)
        with zipfile.ZipFile(self.part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, spool in self._spools.items():
                spool.file.close()
                header = {
                    "descr": spool.descr,
                    "fortran_order": False,
                    "shape": (len(self._rows), *spool.shape),
                }
                with (
                    archive.open(f"{name}.npy", "w", force_zip64=True) as entry,
                    gzip.open(spool.file.name) as frames,
                ):
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(frames, entry)
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(
                        entry, np.ascontiguousarray(array), allow_pickle=False
                    )
