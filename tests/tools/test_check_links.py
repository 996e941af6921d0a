"""Links whose fate is known, and those of the repository."""

import json
from pathlib import Path

import pytest
from check_links import anchors, links, main

PAGE = """# The page: it's "new" & `code.py`

[one](other.md) [two](other.md#a-b) <https://example.org/x> ![picture](p.png "title") [here](#by-hand)

```bash
echo "[no](link.md)"
```

`[neither](this.md)` <a id="by-hand"></a>

## Second - with [a link](other.md)
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "other.md").write_text("## A: b\n```\n# not a heading\n```\n")
    (tmp_path / "p.png").touch()
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def test_links_outside_code_are_found(page: Path) -> None:
    assert list(links(page)) == [
        (3, "other.md"),
        (3, "other.md#a-b"),
        (3, "https://example.org/x"),
        (3, "p.png"),
        (3, "#by-hand"),
        (11, "other.md"),
    ]


def test_headings_are_named_as_github_and_mkdocs_do(page: Path) -> None:
    assert anchors(page) == {
        "the-page-its-new--codepy",
        "the-page-its-new-codepy",
        "by-hand",
        "second---with-a-link",
        "second-with-a-link",
    }
    assert anchors(page.with_name("other.md")) == {"a-b"}


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("other.md", ""),
        ("other.md#a-b", ""),
        ("non%65.md", "page.md:1: non%65.md: there is no such file"),
        ("other.md#a", "other.md has no heading of this name"),
        ("other.md#not-a-heading", "has no heading"),
        ("#nowhere", "page.md has no heading of this name"),
        ("https://nowhere.invalid/", ""),
        ("mailto:a@b.c", ""),
    ],
)
def test_broken_links_are_named(
    link: str, message: str, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.write_text(f"[x]({link})\n")
    assert main([str(page)]) == (1 if message else 0)
    assert message in capsys.readouterr().out


def test_links_of_notebooks(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "[x](gone.md)"]},
        {"cell_type": "code", "source": ["[x](not_a_link.md)"]},
    ]
    notebook = page.with_suffix(".ipynb")
    notebook.write_text(json.dumps({"cells": cells}))
    assert main([str(notebook)]) == 1
    said = capsys.readouterr().out
    assert "page.ipynb:2: gone.md" in said
    assert "not_a_link" not in said


def test_external_links_are_listed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--external", str(page)]) == 0
    assert (
        "https://example.org/x\n1 files, 5 links inside, 0 broken; 1 addresses"
        in capsys.readouterr().out
    )


def test_no_link_of_the_repository_is_broken() -> None:
    assert main([]) == 0
