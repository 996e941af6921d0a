"""Known answers in float64, kept under tests/reference/vae."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "reference" / "vae"


@pytest.fixture
def known() -> Callable[[str], dict[str, Any]]:
    """Reads one file of known answers by its name."""
    return lambda name: json.loads((FOLDER / f"{name}.json").read_text())
