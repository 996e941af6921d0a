"""Which parameter learns how fast, and with which weight decay."""

import pytest
import torch
from torch import nn

from ecmvae.config import TrainConfig
from ecmvae.errors import UserError
from ecmvae.training.optimizers import LR_MULTIPLIER, make_optimizer, parameter_groups


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.model.audio_encoder = nn.Linear(2, 2).requires_grad_(False)
        self.model.decoder = nn.Conv2d(4, 1, 1, bias=False)


def sizes(train: TrainConfig) -> dict[tuple[float, float], int]:
    groups = parameter_groups(Network(), train)
    return {
        (each["lr"], each["weight_decay"]): sum(p.numel() for p in each["params"])
        for each in groups
    }


def test_one_group_holds_all_that_is_not_frozen_unless_told_otherwise() -> None:
    assert sizes(TrainConfig(learning_rate=0.5)) == {(0.5, 0.0): 12 + 4 + 8 + 4}


def test_backbones_learn_slower_and_norms_and_biases_do_not_decay() -> None:
    train = TrainConfig(
        learning_rate=0.5, backbone_multiplier=0.1, weight_decay=0.01, decay_norms=False
    )
    assert sizes(train) == {(0.05, 0.01): 12, (0.05, 0.0): 4 + 8, (0.5, 0.01): 4}


def test_slow_parts_learn_like_backbones() -> None:
    train = TrainConfig(learning_rate=0.5, backbone_multiplier=0.1, slow_parts=["decoder"])
    assert sizes(train) == {(0.05, 0.0): 12 + 4 + 8 + 4}
    with pytest.raises(UserError, match=r"slow_parts: the network has no decode$"):
        sizes(TrainConfig(slow_parts=["decode"]))


def test_the_optimiser_is_adam_without_weight_decay_and_adamw_with_it() -> None:
    cpu = torch.device("cpu")
    assert type(make_optimizer(Network(), TrainConfig(), cpu)) is torch.optim.Adam
    decayed = make_optimizer(
        Network(), TrainConfig(weight_decay=0.01, backbone_multiplier=0.1), cpu
    )
    assert type(decayed) is torch.optim.AdamW
    assert [group[LR_MULTIPLIER] for group in decayed.param_groups] == [0.1, 1.0]
