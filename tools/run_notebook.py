"""Run a notebook from top to bottom and keep its pictures: how docs/notebooks/*.ipynb get their outputs.

    python tools/run_notebook.py docs/notebooks/first_steps.ipynb     # or: make notebook

Warnings on standard error are shown here and not kept: they tell of this machine, not of the notebook.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from ecmvae.files import replacing


def execute(
    path: Path, *, extra: str = "", other_code: Mapping[str, str] | None = None, timeout: int = 600
) -> nbformat.NotebookNode:
    """A notebook with the outputs of a fresh run in its own folder.

    Args:
        path: The notebook, which stays as it is.
        extra: Code to run in a last cell.
        other_code: Lines of the notebook -> what is run in their place, such as a shorter training.
        timeout: Seconds that one cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: When a cell fails.
        ValueError: When a line of `other_code` is not in the notebook.
    """
    notebook = nbformat.read(path, as_version=4)
    for line, other in (other_code or {}).items():
        if not any(line in cell.source for cell in notebook.cells):
            raise ValueError(f"{path} has no line {line!r}")
        for cell in notebook.cells:
            cell.source = cell.source.replace(line, other)
    if extra:
        notebook.cells.append(nbformat.v4.new_code_cell(extra))
    NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        if cell.cell_type == "code":
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    print(output["text"], file=sys.stderr)
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run notebooks and write their outputs into them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", type=Path, nargs="+")
    for path in parser.parse_args().notebooks:
        notebook = execute(path)
        with replacing(path) as part:
            nbformat.write(notebook, part)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
