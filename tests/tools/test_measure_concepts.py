"""The tool that times models without training runs, at toy size; its figures are not checked."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "measure_concepts.py"


@pytest.mark.slow
def test_a_second_call() -> None:
    words = [sys.executable, str(TOOL), "second", "--tiny", "--seconds", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=TOOL.parents[1])
    labels = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert labels == ["first call", "another threshold", "other words", "without the cache"]


def test_mistakes_are_the_parsers() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "third"], capture_output=True, text=True, cwd=TOOL.parents[1]
    )
    assert done.returncode == 2
    assert "invalid choice: 'third'" in done.stderr
