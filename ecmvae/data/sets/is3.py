"""IS3 (interactive synthetic sound sources): generated pictures of two things, each heard once in the same picture.

Senocak et al., "Sound source localization is all about cross-modal alignment", ICCV 2023 (arXiv:2309.10724). Each of
the 3,240 pictures comes twice, as ``{a}_{b}_{id}_{a}`` and ``{a}_{b}_{id}_{b}``, with the sound of that thing: what a
model marks has to change. Masks and boxes (in pixels of 224) are both labelled; the papers score the boxes.
"""

from __future__ import annotations

from pathlib import Path

from ecmvae.data.sets.records import DataSetRecord
from ecmvae.data.sets.rows import (
    BOX_SIDE,
    Boxes,
    ClipRow,
    MaskFiles,
    Truth,
    box_of,
    json_rows,
    part_of_path,
)
from ecmvae.foreign_text import LARGE, read_json


def rows(record: DataSetRecord, root: Path, split: str | None = None) -> list[ClipRow]:
    """A clip an annotation. The paths in the table are those of its authors; only the names of the files count."""
    table = record.table(root)
    found = []
    for number, line in enumerate(json_rows(read_json(table, LARGE), record.columns, table)):
        where = f"{table}, row {number}"
        path = line["image"]
        name = part_of_path(Path(path).stem if isinstance(path, str) else path, where)
        picture, _, heard = name.rpartition("_")
        truth: Truth = MaskFiles((root / "gt_segmentation" / f"{name}.png",))
        if record.truth == "boxes":
            truth = Boxes((box_of(line["gt_box"], BOX_SIDE, where),))
        found.append(
            ClipRow(
                name=name,
                split="test",
                frames=(root / "images" / f"{name}.jpg",),
                sounds=(root / "audio_wav" / f"{name}.wav",),
                truths=(truth,),
                category=heard,
                seen=tuple(dict.fromkeys([heard, *picture.split("_")[:2]])),
                picture=picture,
            )
        )
    return found
