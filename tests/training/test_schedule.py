import pytest
from lightning.pytorch import LightningModule, Trainer

from ecmvae.config import TrainConfig
from ecmvae.training import schedule
from ecmvae.training.schedule import Schedule


def test_progress_counts_steps_without_a_budget() -> None:
    assert Schedule(TrainConfig(), total_steps=40).progress(10) == 0.25


def test_a_slow_machine_completes_the_cycle_in_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now[0])
    clock = Schedule(TrainConfig(max_minutes=1.0), total_steps=1000, begun=80.0)
    clock.on_train_start(Trainer(logger=False, enable_checkpointing=False), LightningModule())
    now[0] += 10
    # 20 of the 60 seconds were gone before training
    assert clock.progress(0) == pytest.approx(10 / 40)
    assert clock.progress(900) == pytest.approx(0.9)  # on a fast machine the steps lead
    now[0] += 31
    assert clock.progress(0) == 1.0


def test_a_resumed_clock_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now[0])
    first = Schedule(TrainConfig(max_minutes=1.0), total_steps=10)
    first.on_train_start(Trainer(logger=False, enable_checkpointing=False), LightningModule())
    now[0] = 12.0
    second = Schedule(TrainConfig(max_minutes=1.0), total_steps=10)
    second.load_state_dict(first.state_dict())
    second.on_train_start(Trainer(logger=False, enable_checkpointing=False), LightningModule())
    now[0] = 15.0
    assert second.elapsed() == 15.0
