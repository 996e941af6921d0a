"""Ref-AVS, used without its expressions: what any expression refers to in a clip is what should be marked.

Wang et al., "Ref-AVS: refer and segment objects in audio-visual scenes", ECCV 2024 (arXiv:2407.10957). An expression
may refer to a thing that is silent, so this is a test of what people talk about rather than of hearing. The expressions
of `test_n` refer to nothing, and that split has no masks: it can be read, not scored.
"""

from __future__ import annotations

from pathlib import Path

from ecmvae.data.layout import read_table
from ecmvae.data.sets.records import DataSetRecord
from ecmvae.data.sets.rows import ClipRow, MaskFiles
from ecmvae.errors import UserError
from ecmvae.foreign_text import short

FRAMES = 10
"""Frames of a clip, one a second."""


def rows(record: DataSetRecord, root: Path, split: str | None = None) -> list[ClipRow]:
    """A clip a video and split; its masks are those of all objects that the lines of the split refer to."""
    table = record.table(root)
    found: dict[tuple[str, str], list[str]] = {}
    for line in read_table(table, record.columns):
        # As the released loader does: the folder is not the column `vid` but the uid without its last two parts.
        video = line["uid"].rsplit("_", 2)[0]
        if line["uid"].count("_") < 2 or video in (".", ".."):
            raise UserError(f"{table}: uid {short(line['uid'])} is not VIDEO_NUMBER_NUMBER")
        found.setdefault((video, line["split"]), []).append(line["fid"])
    return [_row(root, video, of, objects) for (video, of), objects in found.items()]


def _row(root: Path, video: str, split: str, objects: list[str]) -> ClipRow:
    folders = [root / "gt_mask" / video / f"fid_{each}" for each in dict.fromkeys(objects)]
    truths = [
        MaskFiles(tuple(folder / f"0000{k}.png" for folder in folders)) for k in range(FRAMES)
    ]
    return ClipRow(
        name=video,
        split=split,
        frames=tuple(root / "media" / video / "frames" / f"{k}.jpg" for k in range(FRAMES)),
        sounds=(root / "media" / video / "audio.wav",),
        truths=(None,) * FRAMES if split == "test_n" else tuple(truths),
        lines=len(objects),
    )
