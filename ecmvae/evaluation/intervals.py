"""The table of the scores that `ecmvae.metrics.by_picture` gives with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from ecmvae.metrics.by_picture import PictureScores

INTERVAL_COLUMNS = ("by picture", "pictures", "sounds", "mIoU", "F", "right of two")
"""Headings of the table."""


def interval_rows(scores: Mapping[str, PictureScores]) -> list[Sequence[str]]:
    """The rows of `INTERVAL_COLUMNS`, by what the model heard or which clips it was given."""
    cells = {name: (each.pictures, each.recordings, *each[-3:]) for name, each in scores.items()}
    return [
        (name, *("-" if cell is None else str(cell) for cell in row)) for name, row in cells.items()
    ]


def interval_table(scores: Mapping[str, PictureScores], title: str | None = None) -> Table:
    """The same for a console."""
    caption = "95 % intervals: bootstrap over the pictures of the sounding objects"
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=0)
    for column in INTERVAL_COLUMNS:
        table.add_column(column, justify="left" if column == INTERVAL_COLUMNS[0] else "right")
    for row in interval_rows(scores):
        table.add_row(*row)
    return table
