"""States of Adam that fit, and such as torch would take without a word."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from ecmvae.training.optimizer_state import check_optimizer


@pytest.fixture
def adam() -> torch.optim.Adam:
    layer = nn.Linear(3, 2)
    adam = torch.optim.Adam(layer.parameters(), lr=1e-3)
    layer(torch.ones(1, 3)).sum().backward()
    adam.step()
    return adam


def test_its_own_state_fits_with_another_learning_rate_too(adam: torch.optim.Adam) -> None:
    saved = adam.state_dict()
    saved["param_groups"][0]["lr"] = 1  # a whole number stands for a fraction
    check_optimizer(saved, adam)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("param_groups", 0, "lr"), "fast", "lr is of another kind"),
        (("param_groups", 0, "betas"), (0.9,), "betas is of another kind"),
        (("param_groups", 0, "params"), [0], "other parameters"),
        (("state", 0, "exp_avg"), torch.zeros(3), "moments of parameter 0"),
        (("state", 1, "exp_avg_sq"), torch.zeros(3), "moments of parameter 1"),
        (("state", 1, "step"), torch.zeros(1), "moments of parameter 1"),
    ],
)
def test_one_odd_value_is_named(
    adam: torch.optim.Adam, place: tuple[Any, ...], value: object, message: str
) -> None:
    saved = inner = deepcopy(adam.state_dict())
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match=message):
        check_optimizer(saved, adam)


def test_more_groups_than_there_are_do_not_fit(adam: torch.optim.Adam) -> None:
    saved = deepcopy(adam.state_dict())
    saved["param_groups"] *= 2
    with pytest.raises(ValueError, match="zip"):
        check_optimizer(saved, adam)
