"""Loggers by name: what they leave in a run, and what is missing in one line."""

import csv
from importlib.machinery import ModuleSpec

import pytest

from ecmvae.errors import UserError
from ecmvae.training.loggers import refuse_missing_loggers
from ecmvae.training.monitor import read_history
from ecmvae.training.run import train


def test_several_loggers_get_the_same_curves(tiny) -> None:
    run = train(
        tiny(train__epochs=1, train__loggers=["csv", "tensorboard", "csv"], data__val_length=2)
    )
    assert list(run.glob("events.out.tfevents.*"))
    with (run / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = {int(row["step"]): float(row["train/total"]) for row in rows if row["train/total"]}
    history = {
        row["step"]: row["train/total"]
        for row in read_history(run / "history.jsonl")
        if "train/total" in row
    }
    assert losses == pytest.approx(history)
    assert any(row["val/miou"] for row in rows)


def test_a_run_needs_no_logger(tiny) -> None:
    run = train(tiny(train__epochs=1, train__loggers=[], train__log_images=1, data__val_length=2))
    left = {"best", "checkpoints", "config.yaml", "differs.md", "history.jsonl", "run.lock"}
    assert {path.name for path in run.iterdir()} == left


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecmvae.training.loggers.find_spec", lambda package: None)
    with pytest.raises(
        UserError, match=rf"train.loggers: {name} is not installed: pip install 'ecmvae\[{name}\]'"
    ):
        refuse_missing_loggers(["csv", name])
    monkeypatch.setattr(
        "ecmvae.training.loggers.find_spec", lambda package: ModuleSpec(package, None)
    )
    refuse_missing_loggers(["csv", name])
