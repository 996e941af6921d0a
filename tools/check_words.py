"""Words and turns of phrase that read as translated, with plain ones instead.

`make lint` runs it over everything that users and contributors read: the package, the documentation, the recipes and
the tools. ``python tools/check_words.py PATH ...`` checks single files.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
READ = (
    *(
        "ecmvae/**/*.py",
        "ecmvae/**/*.yaml",
        "ecmvae/**/*.md",
        "configs/**/*.yaml",
        "data_prep/**/*.py",
        "tools/**/*.py",
    ),
    *("docs/**/*.md", "docs/**/*.ipynb", "*.md", ".github/**/*.md", ".github/**/*.yml"),
)
INSTEAD = {
    r"\banew\b": "again",
    r"\bnought\b": "zero",
    r"\bcannot be had\b": "is not available",
    r"\bin vain\b": "without effect",
    r"\bat hand\b": "available",
    r"\b(its|their|the model's) (eyes|ears)\b": "visual backbone, audio encoder",
    r"\bwhoever\b": "anyone who",
    r"^\W*Who (has|wants|needs|trains|uses|reads)\b": "if you have, want, need ...",
    r"\bnobody (labelled|said|hears|looks|sees)\b": "unlabelled, not heard ...",
    r"\bis no (checkpoint|number|picture|folder|model|run|name)\b(?! (that|which|of))": "is not a ...",
    r"\bupon\b": "on",
    r"\bheld against\b": "compared with",
    r"\blooked at\b": "checked, inspected",
    r"\bbeneath\b": "below",
    r"\band the like\b": "and so on",
    r"\bfor good\b": "permanently",
    r"\bshall\b": "must, should",
    r"\b(thereof|whereof|wherein|therein)\b": "of it, in which",
    r"\beverybody\b": "every clip, every user",
    r"\b(lets|let) nobody in\b": "refuses",
    r"\b(handed|given) to drink\b": "given",
    r"\bmakes? (itself|themselves) known\b": "reports",
    r"\bat the latest\b": "at most, no later than",
}
"""Pattern, without regard to case -> what to write."""


def hits(text: str) -> list[tuple[int, str, str]]:
    """Line number, what stands there and what to write instead, for every hit."""
    return [
        (number, match.group().strip(), instead)
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern, instead in INSTEAD.items()
        for match in [re.search(pattern, line, re.IGNORECASE)]
        if match
    ]


def _text(file: Path) -> str:
    """What people read of a file: of a notebook its cells, without their pictures."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def main(paths: list[str]) -> int:
    """Print every hit; 1 if there is one."""
    files = [Path(path) for path in paths] or sorted(
        {file for pattern in READ for file in ROOT.glob(pattern)}
    )
    found = 0
    for file in files:
        if file.resolve() == Path(__file__).resolve():
            continue
        for number, words, instead in hits(_text(file)):
            print(f"{file}:{number}: {words!r}: write {instead!r}")
            found += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
