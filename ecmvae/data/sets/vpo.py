"""VPO (visual post-production): pictures and masks of COCO with sounds of VGGSound that were chosen for them.

Chen et al., "Unraveling instance associations: a closer look for audio-visual segmentation", CVPR 2024
(arXiv:2304.02970). SS: a picture has one sound. MS: several classes sound. MSMI: several instances of a class, too;
pictures without them (`multi_instance` 0) lie in VPO-MS. The sounds of a picture are added. Masks hold COCO's category
ids, with three of VPO's own for people.
"""

from __future__ import annotations

from pathlib import Path

from ecmvae.data.layout import read_table
from ecmvae.data.sets.records import RECORDS, DataSetRecord
from ecmvae.data.sets.rows import ClipRow, MaskFiles
from ecmvae.errors import UserError
from ecmvae.foreign_text import short

COCO_IDS = {
    "car": 3,
    "motorcycle": 4,
    "airplane": 5,
    "bus": 6,
    "bird": 16,
    "cat": 17,
    "dog": 18,
    "horse": 19,
    "sheep": 20,
    "cow": 21,
    "elephant": 22,
    "zebra": 24,
    "sports ball": 37,
    "skateboard": 41,
    "tennis racket": 43,
    "mouse": 74,
    "keyboard": 76,
    "cell phone": 77,
    "male": 92,
    "female": 93,
    "baby": 94,
}
"""Value of a mask's pixels by class."""

_CLASSES = {value: RECORDS["vpo_ss"].classes.index(name) for name, value in COCO_IDS.items()}


def rows(record: DataSetRecord, root: Path, split: str | None = None) -> list[ClipRow]:
    """The clips: of SS a line each, of MS and MSMI a picture each, with all its sounds."""
    table = record.table(root)
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in read_table(table, record.columns):
        for column in ("img_Id", "ann_Ids"):
            if not (
                line[column].isascii() and line[column].isdecimal() and len(line[column]) <= 12
            ):
                raise UserError(
                    f"{table}: {column} {short(line[column])} is not a number of COCO's"
                )
        name = f"{int(line['img_Id']):012}"
        if record.name == "vpo_ss":
            name += f"_{int(line['ann_Ids']):012}"
        found.setdefault((name, line["split"]), []).append(line)
    return [_row(record, root, name, lines) for (name, _), lines in found.items()]


def _row(record: DataSetRecord, root: Path, name: str, lines: list[dict[str, str]]) -> ClipRow:
    first, picture = lines[0], name[:12]
    folder, place = root / record.tables[0].partition("/")[0], ""
    if record.name == "vpo_ss":
        # A folder a class, as the released loader reads it; copies without these folders are about, too.
        place = first["cateName"] if (folder / "data" / first["cateName"]).is_dir() else ""
    elif first.get("multi_instance") == "0":
        folder = root / "VPO-MS"
    categories = sorted({line["cateName"] for line in lines})
    return ClipRow(
        name=name,
        split=first["split"],
        frames=(folder / "data" / place / f"{picture}.jpg",),
        sounds=tuple(root / "VGGSound" / "audios" / f"{line['vgg_file']}.wav" for line in lines),
        truths=(MaskFiles((folder / "mask" / place / f"{name}.png",), _CLASSES),),
        category=categories[0] if len(categories) == 1 else "",
        seen=tuple(categories),
        lines=len(lines),
    )
