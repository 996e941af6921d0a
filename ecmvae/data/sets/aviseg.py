"""AVISeg: videos of about a minute in which every sounding thing is masked in every frame, and silent ones are not.

Guo et al., "Audio-visual instance segmentation", CVPR 2025 (arXiv:2412.03069). The tables have the form of YouTube-VIS:
videos, annotations (a track of one thing, with a run-length mask or null for each frame), categories. Null means that
the thing is silent or out of sight. Read as masks of all that sounds: tracks of a frame are merged.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from ecmvae.data.sets.records import DataSetRecord
from ecmvae.data.sets.rows import ClipRow, RunLengths, json_rows, part_of_path
from ecmvae.errors import UserError
from ecmvae.foreign_text import read_json, short

TABLE_LIMIT = 1_000_000_000
"""Most bytes of a table, which holds all masks of its split."""


def rows(record: DataSetRecord, root: Path, split: str | None = None) -> list[ClipRow]:
    """A clip a video, of one split."""
    split = split or next(each for each in record.splits if record.lies_in(root, each))
    table = record.table(root, split)
    content = read_json(table, TABLE_LIMIT)
    if not isinstance(content, dict):
        raise UserError(f"{table}: must hold an object with videos and annotations")
    keys = ("id", "file_names", "height", "width")
    videos = json_rows(content.get("videos"), keys, Path(f"{table}, videos"))
    known = {
        _number(video["id"], f"{table}, video {short(video['id'])}"): video for video in videos
    }
    if len(known) < len(videos):
        raise UserError(f"{table}: lists a video twice")
    tracks: dict[int, list[dict[str, Any]]] = defaultdict(list)
    wanted = ("video_id", "segmentations")
    for track in json_rows(content.get("annotations"), wanted, Path(f"{table}, annotations")):
        if not isinstance(track["video_id"], int) or track["video_id"] not in known:
            raise UserError(
                f"{table}: an annotation belongs to video {short(track['video_id'])}, which it does not list"
            )
        tracks[track["video_id"]].append(track)
    return [
        _row(root / split, split, video, tracks[number], str(table))
        for number, video in known.items()
    ]


def _row(
    folder: Path, split: str, video: dict[str, Any], tracks: list[dict[str, Any]], table: str
) -> ClipRow:
    where = f"{table}, video {video['id']}"
    names = video["file_names"]
    if not isinstance(names, list) or not names:
        raise UserError(f"{where}: names no files")
    parts = [
        [
            part_of_path(part, where)
            for part in (name.split("/") if isinstance(name, str) else [name])
        ]
        for name in names
    ]
    size = _number(video["height"], where), _number(video["width"], where)
    for track in tracks:
        if not isinstance(track["segmentations"], list) or len(track["segmentations"]) != len(
            names
        ):
            raise UserError(
                f"{where}: a track has other than {len(names)} masks, one (or null) a frame"
            )
    return ClipRow(
        name=parts[0][0] if len(parts[0]) > 1 else str(video["id"]),
        split=split,
        frames=tuple(folder.joinpath("JPEGImages", *each) for each in parts),
        sounds=(folder / "WAVAudios" / f"{parts[0][0]}.wav",),
        truths=tuple(
            RunLengths(
                tuple(each for track in tracks if (each := track["segmentations"][k]) is not None),
                size,
                f"{where}, frame {k}",
            )
            for k in range(len(names))
        ),
    )


def _number(value: object, where: str) -> int:
    if type(value) is not int or value < 0:
        raise UserError(f"{where}: {short(value)} is not a whole number")
    return value
