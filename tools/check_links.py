"""Check every link between files of the repository: the file and, after "#", its heading must exist.

`make lint` runs it over all pages, notebooks, READMEs and cards. Links inside the site are checked by `make docs`, too;
this also covers the README, CONTRIBUTING and other files that GitHub shows. ``python tools/check_links.py --external``
lists the links that lead elsewhere, which are not fetched.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
READ = (
    "*.md",
    ".github/**/*.md",
    "docs/**/*.md",
    "docs/**/*.ipynb",
    "ecmvae/**/*.md",
    "tools/**/*.md",
)

_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2[^\n]*$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(
    r"\]\(<?((?:[^()<>\s]|\([^()\s]*\))+)>?(?:\s+\"[^\"]*\")?\)|<(https?://[^>\s]+)>|\b(?:src|href)=\"([^\"]+)\""
)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_ANCHOR = re.compile(r"\b(?:id|name)=\"([^\"]+)\"|\{#([\w-]+)\}")


def links(file: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link in a file, code left out."""
    text = _CODE.sub(lambda code: "\n" * code.group().count("\n"), _text(file))
    for match in _LINK.finditer(text):
        target = next(group for group in match.groups() if group)
        yield text.count("\n", 0, match.start()) + 1, target


def anchors(file: Path) -> set[str]:
    """The names of a file's headings as GitHub and as MkDocs make them, and those that are set by hand."""
    text = _text(file)
    found = {each for groups in _ANCHOR.findall(text) for each in groups if each}
    plain = _CODE.sub(
        lambda code: code.group().strip("`") if "\n" not in code.group() else "", text
    )
    for title in _HEADING.findall(plain):
        title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("*", "")
        github = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found |= {github, re.sub(r"-+", "-", github).strip("-")}
    return found


def fault(file: Path, target: str) -> str:
    """What is wrong with a link to another file or to a heading; "" if nothing is."""
    path, _, heading = unquote(target).partition("#")
    goal = file.parent / path if path else file
    if not goal.resolve().is_relative_to(ROOT.resolve()) and file.is_relative_to(ROOT):
        return "leaves the repository"
    if not goal.exists():
        return "there is no such file"
    if heading and goal.suffix in (".md", ".ipynb") and heading not in anchors(goal):
        return f"{goal.name} has no heading of this name"
    return ""


def is_external(target: str) -> bool:
    """Whether a link leads out of the repository."""
    return re.match(r"[a-z][a-z0-9+.-]*:", target) is not None


def _text(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def main(words: list[str]) -> int:
    """Print what is wrong, or the links to elsewhere; 1 if a link is broken."""
    external = "--external" in words
    files = [Path(word) for word in words if word != "--external"]
    files = files or sorted({file for pattern in READ for file in ROOT.glob(pattern)})
    broken = inside = 0
    elsewhere: set[str] = set()
    for file in files:
        for line, target in links(file):
            if is_external(target):
                elsewhere.add(target)
                continue
            inside += 1
            if why := fault(file, target):
                print(f"{file}:{line}: {target}: {why}")
                broken += 1
    if external:
        print("\n".join(sorted(elsewhere)))
    print(
        f"{len(files)} files, {inside} links inside, {broken} broken; {len(elsewhere)} addresses elsewhere, not fetched"
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
