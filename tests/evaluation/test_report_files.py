"""What reports are written with: rows that other programs read back, and files in order."""

import csv
import math
from pathlib import Path

import pytest

from ecmvae.evaluation.report_files import csv_text, decimal, markdown_table, write_texts


def test_a_csv_is_read_back_as_it_was(tmp_path: Path) -> None:
    rows = [('a, "quoted"', 1, None), ("line\nbreak", 0.25, "ü")]
    write_texts(tmp_path, {"a.csv": csv_text(("name", "value", "note"), rows)})
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["name", "value", "note"],
        ['a, "quoted"', "1", ""],
        ["line\nbreak", "0.25", "ü"],
    ]


def test_a_markdown_table_has_a_rule_below_its_head() -> None:
    assert markdown_table(("a", "b"), [(1, "x"), (2, "-")]) == [
        "| a | b |",
        "|---|---|",
        "| 1 | x |",
        "| 2 | - |",
    ]


def test_decimals() -> None:
    assert [decimal(value, 3) for value in (0.12345, 1.0, None, math.nan)] == [
        "0.123",
        "1.000",
        "-",
        "-",
    ]


def test_the_last_file_is_there_only_when_all_are(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_texts(
            tmp_path / "new", {"first.md": "whole", "second.md": "\udcff", "report.json": "{}"}
        )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["first.md"]
