"""The documentation's links lead somewhere; `make docs` checks the rest."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")])


def text_of(page: Path) -> str:
    """A page without its code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text_of(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_file_named_by_its_path_exists() -> None:
    root = DOCS.parent
    named = {
        (page.name, path)
        for page in [*DOCS.rglob("*.md"), root / "README.md", root / "CONTRIBUTING.md"]
        for path in re.findall(
            r"`([\w./-]+/[\w.-]+\.(?:py|yaml|ipynb))`", page.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 60
    places = (root, root / "ecmvae", root / "ecmvae" / "vae", root / "tests" / "vae")
    assert [
        pair for pair in sorted(named) if not any((place / pair[1]).is_file() for place in places)
    ] == []


def test_every_page_is_in_the_menu() -> None:
    menu = re.findall(
        r": (\S+\.(?:md|ipynb))$",
        (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert sorted(menu) == sorted(
        str(page.relative_to(DOCS)) for page in PAGES if page.parent != DOCS / "assets"
    )
    assert (
        yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))["strict"] is True
    )


def test_every_name_of_the_api_page_exists() -> None:
    names = re.findall(r"\]\[(ecmvae[\w.]+)\]", (DOCS / "api.md").read_text(encoding="utf-8"))
    assert len(names) > 20
    for name in names:
        try:
            import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(import_module(module), attribute), name
