"""Show how a configuration differs from what was published, without training; or renew the tables of docs/reproduce.md.

`python tools/reproduce.py configs/s4_pvt.yaml mine.yaml` prints what a run with these files would write into
differs.md; the first file is the recipe, the others are laid over it. `python tools/reproduce.py --docs` renews the
tables.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ecmvae.config import load_config
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.training.differs import Difference, code, compare, differences, table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproduce.md"

PUBLISHED = {
    "s4_pvt": "81.74 / 90.1",
    "s4_resnet50": "76.33 / 86.5",
    "ms3_pvt": "57.84 / 70.8",
    "ms3_resnet50": "48.69 / 60.7",
    "s4_tpavi": "78.74 / 87.9",
    "s4_tpavi_resnet50": "72.79 / 84.8",
    "ms3_tpavi": "54.00 / 64.5",
    "ms3_tpavi_resnet50": "47.88 / 57.8",
}
"""Test scores of the authors, mIoU / F in percent, as later work quotes them; not ours."""

MODELS = {
    "ECMVAE": [name for name in PUBLISHED if "tpavi" not in name],
    "AVSBench's TPAVI": [name for name in PUBLISHED if "tpavi" in name],
}


def scores() -> str:
    """A row a recipe: the authors' score, empty cells for ours, and the commands that fill them."""
    rows = []
    for name, authors in PUBLISHED.items():
        config = load_config(recipe(name))
        run, task = f"runs/{config.train.name}-001", config.data.name
        score = f"ecmvae evaluate --checkpoint {run} --data {config.data.root} --task {task} --split test"
        latents = " --latents sample" if config.model.name == "ecmvae" else ""
        train = f"`ecmvae train --config {recipe(name).relative_to(ROOT)}`"
        rows.append(
            (
                name,
                authors,
                "",
                "" if latents else "no latents",
                f"{train}, then `{score}{latents}`",
            )
        )
    return table(("recipe", "authors' mIoU / F", "ours", "ours, latents' means", "command"), rows)


def merged(names: Sequence[str]) -> str:
    """What differs from the authors' code, and what it leaves open, for several recipes in one table each."""
    found = {name: compare(load_config(recipe(name)), "released") for name in names}
    settings = [row for each in found.values() for row in each.settings]
    parts = [f"Settings that differ: {len(settings)}."]
    if settings:
        parts.append(
            _rows("setting", "there", {name: each.settings for name, each in found.items()})
        )
    parts += [
        "Whatever the settings:",
        _rows("what", "there", {name: each.fixed for name, each in found.items()}),
    ]
    parts += [
        "Left open there:",
        _rows("setting", "what is open", {name: each.open for name, each in found.items()}),
    ]
    return "\n\n".join(parts)


def _rows(what: str, there: str, found: dict[str, list[Difference]]) -> str:
    of: dict[Difference, list[str]] = {}
    for name, rows in found.items():
        for row in rows:
            of.setdefault(row, []).append(name)
    lines = [
        (
            code(row.what),
            row.here,
            row.there,
            row.source,
            "all" if len(names) == len(found) else ", ".join(names),
        )
        for row, names in of.items()
    ]
    return table((what, "here", there, "source", "recipes"), lines)


def recipe(name: str) -> Path:
    """The file of a recipe."""
    return ROOT / "configs" / "reproduce" / f"{name}.yaml"


def renewed(page: str) -> str:
    """The page with its tables as they are now; each stands between two comments that name it."""
    blocks = {"scores": scores(), **{model: merged(names) for model, names in MODELS.items()}}
    for name, text in blocks.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = pattern.subn(
            lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", page
        )  # type: ignore[misc]
        if count != 1:
            raise UserError(
                f"{PAGE}: needs one block <!-- {name} --> ... <!-- end -->, has {count}"
            )
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 means a mistake that the user can correct."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="YAML files, as of ecmvae train --config")
    parser.add_argument("--docs", action="store_true", help="renew the tables of docs/reproduce.md")
    options = parser.parse_args(arguments)
    if bool(options.files) == options.docs:
        parser.error("give YAML files, or --docs")
    try:
        if options.docs:
            with replacing(PAGE) as part:
                part.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            print(differences(load_config(options.files), options.files), end="")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
