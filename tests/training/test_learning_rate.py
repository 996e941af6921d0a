"""Shapes of the learning rate over a run, against torch's own schedulers."""

import pytest
import torch
from torch import nn

from ecmvae.training.learning_rate import learning_rate_share, one_cycle


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


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_schedules_agree_with_torch(schedule: str) -> None:
    """A hundred steps after ten of warm-up."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    kinds = torch.optim.lr_scheduler
    theirs = {
        "cosine": lambda: kinds.CosineAnnealingLR(optimizer, T_max=90),
        "poly": lambda: kinds.PolynomialLR(optimizer, total_iters=90, power=0.9),
    }[schedule]()
    for step in range(10, 100):
        assert learning_rate_share(schedule, step / 100, 0.1) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        theirs.step()
    assert learning_rate_share(schedule, 1.0, 0.1) == 0.0


@pytest.mark.parametrize("schedule", ["constant", "cosine", "poly"])
def test_the_rate_rises_linearly_first(schedule: str) -> None:
    assert [learning_rate_share(schedule, p, 0.1) for p in (0.0, 0.05, 0.1)] == pytest.approx(
        [0.01, 0.505, 1.0]
    )
    assert learning_rate_share(schedule, 0.0) == 1.0
    assert 0.01 <= learning_rate_share(schedule, 0.999, 1.0) <= 1.0
