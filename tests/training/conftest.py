"""A configuration at toy size that every training test starts from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_pictures import config_of, train, write_pictures

from ecmvae.config import Config, load_config
from ecmvae.data.miniature import ShapeScenes, write_miniature_avss

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"


SIDE = 32


@pytest.fixture(scope="session")
def avss_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature AVSS of 32 pixels: in each subset two clips of moving shapes to train on, one to validate with."""
    folder = tmp_path_factory.mktemp("avss") / "root"
    counts = {"train": 2, "val": 1, "test": 1}
    return write_miniature_avss(
        folder, counts, single=ShapeScenes("s4", SIDE), several=ShapeScenes("ms3", SIDE)
    )


@pytest.fixture
def tiny_avss(tiny: Callable[..., Config], avss_root: Path) -> Callable[..., Config]:
    """The same toy run with a head of 71 classes on the miniature AVSS."""
    classes = {
        "model__num_classes": 71,
        "loss__structure": 0.0,
        "loss__posterior_structure": 0.0,
        "data__name": "avss",
        "data__root": str(avss_root),
        "data__image_size": SIDE,
        "data__num_frames": 10,
        "train__batch_size": 2,
    }
    return lambda **overrides: tiny(**(classes | overrides))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A run of seconds: 12 clips of 32 pixels in batches of 4, below `tmp_path`; keywords are dotted with __.

    Curves are not drawn: that takes as long as the training.
    """
    monkeypatch.setattr("ecmvae.training.run.draw_curves", lambda history, picture: None)

    def make(**overrides: Any) -> Config:
        small = {
            "model.visual.name": "test_efficientnet",
            "data.image_size": SIDE,
            "data.length": 12,
            "data.val_length": 4,
            "model.channels": 8,
            "train.batch_size": 4,
            "train.device": "cpu",
            "train.log_images": 0,
            "train.out": str(tmp_path / "runs"),
        }
        return load_config(
            DEBUG, small | {key.replace("__", "."): value for key, value in overrides.items()}
        )

    return make


@pytest.fixture(scope="session")
def picture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn pictures with attributes."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "faces")


@pytest.fixture(scope="session")
def picture_run(picture_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE's run that has learnt those pictures."""
    config = config_of(picture_root, "vae", epochs=25, batch_size=4, learning_rate=3e-3)
    return train(tmp_path_factory.mktemp("vae") / "run", config)
