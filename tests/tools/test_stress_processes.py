"""Short versions of the campaigns against running processes: nothing is lost."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import stress


@pytest.mark.parametrize(
    ("name", "attacks"),
    [
        ("kill", [1, 6]),  # inside a checkpoint; two processes resume one run
        ("web", [0, 1, 2, 3, 4, 7, 8, 9, 13, 15]),  # those that take no seconds
        ("load", range(8)),
    ],
)
def test_nothing_is_lost(name: str, attacks: Sequence[int], tmp_path: Path) -> None:
    report = stress.attack(name, 0, attacks, tmp_path, progress=False)
    assert report["losses"] == []
    assert report["survived"] == len(attacks)
