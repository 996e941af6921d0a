"""Which model is used when none is named: the packaged one, else the newest demo run."""

from __future__ import annotations

from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.hub.find import find_model_folder
from ecmvae.hub.named_models import CONFIG_FILE, named_models


def default_model(packaged: Path | None = None, runs: Path = Path("runs")) -> Path:
    """The folder of the model that `ecmvae predict` uses when no model is named.

    Args:
        packaged: Folder with the list of named models, whose first packaged one wins; None = the one of the wheel.
        runs: Folder in which `make demo` leaves its runs (`demo`, older ones moved aside); the newest wins.

    Raises:
        UserError: When there is neither, or the packaged one is damaged.
    """
    for model in named_models(packaged).values():
        if model.packaged and (model.home / model.name / CONFIG_FILE).is_file():
            return model.folder()
    for folder in sorted(runs.glob("demo*"), key=lambda folder: folder.stat().st_mtime, reverse=True):
        try:
            return find_model_folder(folder)
        except UserError:
            continue  # a folder without a model, such as a run that was interrupted
    raise UserError("no model is named, none is packaged and there is no demo run: run make demo, or name one")
