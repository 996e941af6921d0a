"""`ecmvae manifest`: what became of the files of a run over many, all its shards together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path
from ecmvae.foreign_text import cut
from ecmvae.manifest import Row, last_rows, manifest_files

_SHOWN = 20
"""Failed files that are listed."""


def manifest(path: Path, *, out: Path | None = None, force: bool = False) -> int:
    """Summarise a run over many files, all shards together, and list the files that failed.

    Examples:
        ecmvae manifest masks/manifest.jsonl
        ecmvae manifest masks/manifest.jsonl --out all.jsonl

    Args:
        path: The manifest as given to --manifest; those of the shards are found next to it.
        out: Also write the last row of every file to this file.
        force: Replace an existing file.

    Returns:
        0, or 2 when files failed.

    Raises:
        UserError: If there is no manifest, or one is damaged.
    """
    if out is not None and out.exists() and not force:
        raise UserError(
            f"{show_path(out)} exists: choose another --out, or replace it with --force"
        )
    files = manifest_files(path)
    if not files:
        raise UserError(
            f"there is no manifest {show_path(path)}, nor one of a shard beside it: check the path"
        )
    rows = list(last_rows(files).values())
    counts = Counter(row["status"] for row in rows)
    told = ", ".join(f"{count} {cut(status, 20)}" for status, count in sorted(counts.items()))
    print(
        f"{len(files)} {'manifest' if len(files) == 1 else 'manifests'}, {len(rows)} files: {told or 'none'}"
    )
    if seconds := _sum(rows, "seconds"):
        print(
            f"{seconds / 3600:.2f} h of video, done in {_sum(rows, 'took') / 3600:.2f} h of all processes together"
        )
    bad = [row for row in rows if row.get("error")]
    for row in bad[:_SHOWN]:
        print(f"{cut(row['status'], 20)} {cut(row['source'])}: {cut(str(row['error']))}")
    if len(bad) > _SHOWN:
        print(f"and {len(bad) - _SHOWN} more: --out FILE writes all rows")
    if out is not None:
        with (
            replacing(out) as part,
            part.open("w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return 2 if bad else 0


def _sum(rows: Iterable[Row], name: str) -> float:
    return sum(float(row[name]) for row in rows if isinstance(row.get(name), int | float))
