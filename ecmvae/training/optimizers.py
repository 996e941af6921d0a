"""The optimiser of a run: Adam or AdamW over groups of parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ecmvae.config import TrainConfig
from ecmvae.errors import UserError

LR_MULTIPLIER = "lr_multiplier"
"""Key of a parameter group: the multiple of the scheduled learning rate at which it learns."""

_BACKBONES = ("backbone", "audio_encoder")


def make_optimizer(
    module: nn.Module, train: TrainConfig, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW where there is weight decay, else Adam, over everything that is not frozen; fused on a GPU."""
    # In half precision Lightning unscales the gradients before it clips them, which a fused step does itself.
    fused = True if device.type == "cuda" and train.precision != "16-mixed" else None
    groups = parameter_groups(module, train)
    if train.weight_decay > 0:
        return torch.optim.AdamW(
            groups, lr=train.learning_rate, weight_decay=train.weight_decay, fused=fused
        )
    return torch.optim.Adam(groups, lr=train.learning_rate, fused=fused)


def parameter_groups(module: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
    """The parameters that are not frozen, in groups of one learning rate and weight decay; empty groups are left out.

    Backbones and ``train.slow_parts`` learn at ``train.backbone_multiplier`` of the rate. Without
    ``train.decay_norms``, parameters of one dimension (biases, scales of normalisations) have no weight decay.

    Raises:
        UserError: If the network has no part that ``train.slow_parts`` names.
    """
    names = [f"{name}." for name, _ in module.named_parameters()]
    for part in train.slow_parts:
        if not any(name.startswith(f"model.{part}.") for name in names):
            raise UserError(f"train.slow_parts: the network has no {part}")
    slow = tuple(f"model.{part}." for part in (*_BACKBONES, *train.slow_parts))
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        multiplier = train.backbone_multiplier if f"{name}.".startswith(slow) else 1.0
        decay = train.weight_decay if train.decay_norms or parameter.ndim > 1 else 0.0
        group = groups.setdefault(
            (multiplier, decay),
            {
                "params": [],
                "lr": train.learning_rate * multiplier,
                "weight_decay": decay,
                LR_MULTIPLIER: multiplier,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())
