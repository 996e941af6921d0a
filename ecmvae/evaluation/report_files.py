"""The files and tables of a report: CSV, JSON and Markdown that appear whole or not at all."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecmvae.files import replacing


def new_report_folder(path: str | Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist: no report is ever overwritten."""
    folder = Path(path)
    candidates = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([folder], candidates) if not each.exists())


def write_texts(folder: str | Path, texts: Mapping[str, str]) -> Path:
    """Write files into a folder, in order.

    Args:
        folder: Made where it is missing.
        texts: Content of each file, by name.

    Returns:
        The folder.
    """
    folder = Path(folder)
    for name, text in texts.items():
        with replacing(folder / name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")
    return folder


def json_text(content: Mapping[str, Any]) -> str:
    """Content as indented JSON."""
    return json.dumps(content, indent=2) + "\n"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table in Markdown."""
    head, *body = (f"| {' | '.join(map(str, row))} |" for row in (header, *rows))
    return [head, "|" + "---|" * len(header), *body]


def decimal(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; "-" for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def plain(value: Any) -> Any:
    """A value as JSON has it: dictionaries, lists and numbers; None for NaN."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.item() if hasattr(value, "item") else value
