"""VGG-SS: boxes of what sounds in one frame of a test video of VGGSound; and its extension by negatives.

Chen et al., "Localizing visual sounds the hard way", CVPR 2021 (arXiv:2104.02691). The picture is the 125th frame of
the video at 25 frames a second, the middle of its ten seconds; boxes are fractions of the picture and may reach beyond
it. Mo and Morgado, NeurIPS 2022 (arXiv:2209.09634), add pairs of a picture and a sound that do not belong together.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ecmvae.data.layout import read_table
from ecmvae.data.sets.records import RECORDS, DataSetRecord
from ecmvae.data.sets.rows import NEGATIVE, Boxes, ClipRow, box_of, json_rows, part_of_path
from ecmvae.errors import UserError
from ecmvae.foreign_text import LARGE, read_json, read_text, short


def rows(record: DataSetRecord, root: Path, split: str | None = None) -> list[ClipRow]:
    """A clip a video; those of vggss_test.csv alone, where there is one: an id a line, without a header."""
    return _positives(root, "frames", "audio")


def extended_rows(record: DataSetRecord, root: Path, split: str | None = None) -> list[ClipRow]:
    """The positives of VGG-SS, in folders of their own, and the negatives of the extension's table."""
    found = _positives(root, "extend_frames", "extend_audio")
    table = record.table(root)
    for line in read_table(table, record.columns):
        if line["label"] != NEGATIVE:
            raise UserError(
                f"{table}: label {short(line['label'])} is not {NEGATIVE!r}, the only one of this table"
            )
        found.append(
            ClipRow(
                name=f"{line['video']}+{line['audio']}",
                split="test",
                frames=(root / "extend_frames" / f"{line['video']}.jpg",),
                sounds=(root / "extend_audio" / f"{line['audio']}.wav",),
                truths=(Boxes(()),),
                category=NEGATIVE,
            )
        )
    return found


def _positives(root: Path, frames: str, audio: str) -> list[ClipRow]:
    base = RECORDS["vggss"]
    table = base.table(root)
    wanted = _ids(table.with_name("vggss_test.csv"))
    found = []
    for number, line in enumerate(json_rows(read_json(table, LARGE), base.columns, table)):
        where = f"{table}, row {number}"
        name = part_of_path(line["file"], where)
        if not isinstance(line["bbox"], list) or not line["bbox"]:
            raise UserError(f"{where}: {name} has no box")
        if wanted is None or name in wanted:
            found.append(
                ClipRow(
                    name=name,
                    split="test",
                    frames=(root / frames / f"{name}.jpg",),
                    sounds=(root / audio / f"{name}.wav",),
                    truths=(Boxes(tuple(box_of(box, 1, where) for box in line["bbox"])),),
                    category=str(line["class"]),
                    seen=(str(line["class"]),),
                )
            )
    if wanted is not None and (unknown := wanted - {row.name for row in found}):
        raise UserError(
            f"{table}: has no boxes of {short(min(unknown))}, which vggss_test.csv names"
        )
    return found


def _ids(path: Path) -> set[str] | None:
    """The first column of a csv without a header; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, LARGE, "utf-8-sig"), newline="")))
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as csv ({error})") from error
    return {
        part_of_path(line[0], f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line
    }
