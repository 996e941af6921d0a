"""What `check-data` reads of a data set that has a record: every picture, mask and recording of every clip, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecmvae.audio.io import read_wave
from ecmvae.data.findings import Look
from ecmvae.data.images import read_rgb
from ecmvae.data.sets.records import DataSetRecord
from ecmvae.data.sets.rows import NEGATIVE, ClipRow, read_rows


@dataclass(frozen=True)
class RecordedFiles:
    """The files of one clip."""

    record: DataSetRecord
    row: ClipRow

    @property
    def name(self) -> str:
        """Name of the clip, with its split: one video may belong to several."""
        return f"{self.row.split}/{self.row.name}"

    @property
    def split(self) -> str:
        """Of the data set."""
        return self.row.split

    @property
    def counted(self) -> int:
        """How much the clip counts, beside the released numbers."""
        return self.row.lines if self.record.counted == "lines" else 1

    def look(self) -> Look:
        """Read all files."""
        look, size = Look(self.name), None
        for path in self.row.frames:
            if (pixels := look.read(path, read_rgb, size)) is not None:
                size = size or pixels.shape[:2]
                look.add_picture(pixels)
        marked = []
        for number, truth in enumerate(self.row.truths):
            if truth is not None and (numbers := look.attempt(truth.paths, truth.read)) is not None:
                marked.append(bool(numbers.any()))
                if size is not None and self.record.truth != "boxes" and numbers.shape != size:
                    where = truth.paths[0] if truth.paths else f"{self.name}, frame {number}"
                    here, there = (f"{each[1]} x {each[0]}" for each in (numbers.shape, size))
                    look.error(
                        "bad-file",
                        f"{where}: is {here} pixels but the clip's first frame is {there}",
                    )
        if marked and not any(marked) and self.row.category != NEGATIVE:
            look.warn("empty-mask", f"{self.name}: no mask marks anything")
        for path in self.row.sounds:
            if (sound := look.read(path, read_wave)) is not None:
                look.add_sound(str(path), sound[0])
        return look


def recorded_files(
    record: DataSetRecord, root: str | Path, splits: Sequence[str] | None
) -> list[RecordedFiles]:
    """The files of every clip of these splits, or of all that lie there; errors as of `read_rows`."""
    wanted: Sequence[str | None] = splits or [None]
    if splits is None and record.lies_in(root) and "{split}" in record.tables[0]:
        wanted = [split for split in record.splits if record.lies_in(root, split)]
    return [
        RecordedFiles(record, row) for split in wanted for row in read_rows(record, root, split)
    ]
