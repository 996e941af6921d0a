"""What a stopped run is resumed from: the newest checkpoint that can be read; a finished run is left alone."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecmvae.config import Config
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.training.monitor import read_history
from ecmvae.training.resuming import newest_run
from ecmvae.training.run import train

CLIPS = {
    kind: SyntheticAVS("both", length=length, size=32, seed=7)
    for kind, length in (("train", 8), ("val", 2))
}


def run(config: Config, resume: Path | None = None) -> Path:
    return train(config, resume=resume, train_clips=CLIPS["train"], val_clips=CLIPS["val"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


_FINISHED: list[Path] = []


@pytest.fixture
def finished(
    tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Path]:
    """A finished run in a folder of the test's own; it is trained once."""
    config = tiny(train__epochs=3, train__cache_features=False)
    if not _FINISHED:
        _FINISHED.append(tmp_path_factory.mktemp("finished") / "debug-001")
        shutil.copytree(run(config), _FINISHED[0])
    else:
        folder = shutil.copytree(_FINISHED[0], Path(config.train.out) / "debug-001")
        (folder / "config.yaml").write_text(config.to_yaml())
    return config, Path(config.train.out) / "debug-001"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def foreign(file: Path) -> None:
    saved = torch.load(file, weights_only=True)
    saved["state_dict"] = {"another.weight": torch.zeros(3)}
    torch.save(saved, file)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "is not a checkpoint of ecmvae train, or damaged"),
        (foreign, "is of another model, first in another.weight"),
        (Path.unlink, None),  # a process that died between the two renames
    ],
)
def test_a_run_goes_on_from_the_checkpoint_before_one_that_cannot_be_read(
    finished: tuple[Config, Path],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    reason: str | None,
) -> None:
    config, whole = finished
    torn = whole.with_name("torn")
    shutil.copytree(whole, torn)
    damage(torn / "checkpoints" / "last.ckpt")
    with caplog.at_level(logging.WARNING, logger="ecmvae"):
        run(config, resume=torn)
    told = [
        record.getMessage() for record in caplog.records if "going on from" in record.getMessage()
    ]
    assert len(told) == (reason is not None)
    if reason is not None:
        assert f"last.ckpt {reason}" in told[0]
        assert told[0].endswith("previous.ckpt, of epoch 2")
    first, second = weights(whole), weights(torn)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_history(whole / "history.jsonl") == read_history(torn / "history.jsonl")


def test_two_damaged_checkpoints_are_refused(finished: tuple[Config, Path]) -> None:
    config, folder = finished
    for name in ("last", "previous"):
        cut(folder / "checkpoints" / f"{name}.ckpt")
    with pytest.raises(
        UserError,
        match=r"last.ckpt is not a checkpoint of ecmvae train, or damaged: start a new run",
    ):
        run(config, resume=folder)


def test_a_finished_run_says_so_and_is_left_alone(
    finished: tuple[Config, Path], tiny: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    config, folder = finished
    before = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "run.lock"
    }
    with caplog.at_level(logging.WARNING, logger="ecmvae"):
        assert run(config, resume=folder) == folder
    assert "has finished, after 3 epochs: nothing is left to train" in caplog.text
    assert {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "run.lock"
    } == before
    longer = tiny(train__epochs=4, train__cache_features=False)
    run(longer, resume=folder)
    assert read_history(folder / "history.jsonl")[-1]["epoch"] == 3


def test_a_run_that_ran_out_of_patience_goes_on_with_more_only(
    tiny: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    small = {"train__epochs": 6, "train__learning_rate": 1e-12}
    config = tiny(**small, train__patience=1, train__schedule="constant")
    folder = run(config)
    epochs = read_history(folder / "history.jsonl")[-1]["epoch"] + 1
    assert epochs < 6, "the learning rate must be too small to improve anything"
    with caplog.at_level(logging.WARNING, logger="ecmvae"):
        run(config, resume=folder)
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["stopped_by"] == {"patience": 1, "max_minutes": None}
    assert f"has finished, after {epochs} epochs" in caplog.text
    run(tiny(**small, train__patience=9, train__schedule="constant"), resume=folder)
    assert read_history(folder / "history.jsonl")[-1]["epoch"] == 5


def test_auto_finds_a_run_that_has_only_the_checkpoint_before(
    finished: tuple[Config, Path],
) -> None:
    config, folder = finished
    (folder / "checkpoints" / "last.ckpt").unlink()
    assert newest_run(config) == folder
    (folder / "checkpoints" / "previous.ckpt").unlink()
    assert newest_run(config) is None
