"""Where the curves of a run go, by the names of the field's loggers; all of them are Lightning's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ecmvae.config import Config
from ecmvae.errors import UserError


def refuse_missing_loggers(names: Sequence[str]) -> None:
    """Check that the packages of these loggers are installed.

    Raises:
        UserError: Naming the extra that brings what is missing.
    """
    for name in names:
        if name in ("wandb", "mlflow") and find_spec(name) is None:
            raise UserError(f"train.loggers: {name} is not installed: pip install 'ecmvae[{name}]'")


def make_loggers(config: Config, folder: Path) -> list[Logger]:
    """The loggers that ``train.loggers`` names, which write into the run's folder.

    W&B and MLflow take their project, server and keys from their own environment variables (``WANDB_PROJECT``,
    ``WANDB_MODE``, ``MLFLOW_TRACKING_URI`` ...). Without ``MLFLOW_TRACKING_URI``, MLflow writes into the run, too.
    """
    return [_make(name, config, folder) for name in dict.fromkeys(config.train.loggers)]


def _make(name: str, config: Config, folder: Path) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="")
    if name == "csv":
        return CSVLogger(folder, name="", version="csv")
    if name == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=folder.name, save_dir=folder, config=config.to_dict())
    import os

    from lightning.pytorch.loggers import MLFlowLogger

    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    logger = MLFlowLogger(config.train.name, run_name=folder.name, tracking_uri=uri)
    logger.log_hyperparams(config.to_dict())
    return logger
