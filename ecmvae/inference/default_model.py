"""Which model is used when none is named: the packaged one, else the newest demo run."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ecmvae.checkpoint import find_model_folder
from ecmvae.errors import UserError

PACKAGED = Path(str(files("ecmvae"))) / "weights"
"""Model folders that come with the wheel."""


def default_model(packaged: Path = PACKAGED, runs: Path = Path("runs")) -> Path:
    """The folder of the model that `ecmvae predict` uses when no model is named.

    Args:
        packaged: Folder with the model folders of the wheel; the first by name wins.
        runs: Folder in which `make demo` leaves its runs (`demo`, older ones moved aside); the newest wins.

    Raises:
        UserError: When there is neither.
    """
    demos = sorted(runs.glob("demo*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in [*sorted(packaged.glob("*")), *demos]:
        try:
            return find_model_folder(folder)
        except UserError:
            continue  # a folder without a model, such as a run that was interrupted
    raise UserError("no model is named, none is packaged and there is no demo run: run make demo, or name one")
