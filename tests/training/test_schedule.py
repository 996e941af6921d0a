import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from ecmvae.config import TrainConfig
from ecmvae.training import schedule
from ecmvae.training.schedule import Schedule, one_cycle


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1.0, total_steps=101)
    # torch's rise ends at step 0.3 * 101 - 1 = 29.3 of 100, ours at 30: compare where each is at a share of its phase
    for step in range(101):
        share = step / 29.3 * 0.3 if step <= 29.3 else 0.3 + (step - 29.3) / 70.7 * 0.7
        assert one_cycle(share) == pytest.approx(theirs.get_last_lr()[0], abs=1e-6)
        optimiser.step()
        theirs.step()


def test_progress_counts_steps_without_a_budget() -> None:
    assert Schedule(TrainConfig(), total_steps=40).progress(10) == 0.25


def test_a_slow_machine_completes_the_cycle_in_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now[0])
    clock = Schedule(TrainConfig(max_minutes=1.0), total_steps=1000, begun=80.0)
    clock.on_train_start(Trainer(logger=False, enable_checkpointing=False), LightningModule())
    now[0] += 10
    assert clock.progress(0) == pytest.approx(10 / 40)  # 20 of the 60 seconds were gone before training
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
