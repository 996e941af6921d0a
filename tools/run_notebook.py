"""Run a notebook from top to bottom and keep its pictures: how docs/notebooks/*.ipynb get their outputs.

    python tools/run_notebook.py docs/notebooks/first_steps.ipynb     # or: make notebook

Warnings on standard error are shown here and not kept: they tell of this machine, not of the notebook.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from ecmvae.files import replacing


def execute(path: Path, *, extra: str = "", timeout: int = 600) -> nbformat.NotebookNode:
    """A notebook with the outputs of a fresh run in its own folder.

    Args:
        path: The notebook, which stays as it is.
        extra: Code to run in a last cell.
        timeout: Seconds that one cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: When a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if extra:
        notebook.cells.append(nbformat.v4.new_code_cell(extra))
    NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(path.parent)}}).execute()
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path, nargs="+")
    for path in parser.parse_args().notebooks:
        notebook = execute(path)
        with replacing(path) as part:
            nbformat.write(notebook, part)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
