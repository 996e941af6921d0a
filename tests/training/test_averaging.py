"""Averages of the weights against the same averages by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ecmvae.config import Config
from ecmvae.models.checkpoint import load_model
from ecmvae.training import run as training
from ecmvae.training.monitor import read_history

OFF = {
    "train__schedule": "constant",
    "train__epochs": 3,
    "train__batch_size": 2,
    "data__length": 6,
    "data__val_length": 2,
}


class Recorder(Callback):
    """Every step's weights."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(
            {name: value.detach().clone() for name, value in pl_module.model.state_dict().items()}
        )


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder, watch = Recorder(), training.watch

    def watched(trainer: Trainer, *rest: Any) -> None:
        watch(trainer, *rest)
        trainer.callbacks.insert(0, recorder)

    monkeypatch.setattr(training, "watch", watched)
    return recorder


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_the_kept_model_is_the_average_by_hand(
    tiny: Callable[..., Config], recorded: Recorder, averaging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every validation beats the one before, so that the last one is kept.
    scores = iter(range(100))
    monkeypatch.setattr(
        "ecmvae.training.callbacks.BestModel.better", lambda self, score: next(scores) >= 0
    )
    options = {"train__averaging": averaging, "train__ema_decay": 0.8, "train__swa_start": 0.5}
    run = training.train(tiny(**OFF, **options))
    assert len(recorded.seen) == 9
    steps = recorded.seen if averaging == "ema" else recorded.seen[4:]  # swa: from step 5 of 9 on
    expected = dict(steps[0])
    for number, later in enumerate(steps[1:], 2):
        share = 0.2 if averaging == "ema" else 1 / number
        for name, value in later.items():
            expected[name] = (
                torch.lerp(expected[name], value, share) if value.is_floating_point() else value
            )
    kept = load_model(run).state_dict()
    for name, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(kept[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert any(not torch.equal(kept[name], value) for name, value in recorded.seen[-1].items())


def test_a_resumed_run_goes_on_with_its_average(tiny: Callable[..., Config]) -> None:
    options = OFF | {"train__averaging": "ema", "train__ema_decay": 0.8}
    whole = training.train(tiny(**options))
    short = training.train(tiny(**(options | {"train__epochs": 2})))
    config = tiny(**options)
    resumed = training.train(config, resume=short)
    first, second = (
        torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)
        for each in (whole, resumed)
    )
    # the average, and the weights of the last step
    for part in ("state_dict", "current_model_state"):
        assert [
            name
            for name, value in first[part].items()
            if not torch.equal(second[part][name], value)
        ] == []
    assert read_history(whole / "history.jsonl") == read_history(resumed / "history.jsonl")
    assert any(
        not torch.equal(value, first["state_dict"][n])
        for n, value in first["current_model_state"].items()
    )
