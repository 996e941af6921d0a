"""A configuration at toy size that every training test starts from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecmvae.config import Config, load_config

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Config]:
    """A run of seconds: 12 clips of 64 pixels in batches of 4, below `tmp_path`; keywords are dotted with __."""

    def make(**overrides: Any) -> Config:
        small = {
            "data.length": 12,
            "data.val_length": 4,
            "model.channels": 8,
            "train.batch_size": 4,
            "train.device": "cpu",
            "train.log_images": 0,
            "train.out": str(tmp_path / "runs"),
        }
        return load_config(DEBUG, small | {key.replace("__", "."): value for key, value in overrides.items()})

    return make
