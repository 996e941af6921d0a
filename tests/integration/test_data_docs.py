"""The Python of docs/data.md and docs/evaluate.md runs as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["data.md", "evaluate.md"])
def test_snippets_run(page):
    blocks = re.findall(
        r"^```python\n(.*?)^```",
        (DOCS / page).read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})
