"""Activation checkpointing: the same answers and gradients, and the blocks' activations are not kept."""

import pytest
import torch
from torch import nn

from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.checkpointing import checkpoint_blocks


def saved_bytes(backbone: nn.Module, frames: torch.Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, weights not counted."""
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in backbone.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = backbone(frames)
        total = sum(kept.values())
        sum(each.sum() for each in maps).backward()
    return total


@pytest.mark.parametrize("name", ["resnet50", "pvt_v2_b0", "efficientnet_lite0"])
def test_gradients_stay_and_memory_falls(name: str) -> None:
    torch.manual_seed(0)
    frames = torch.randn(1, 3, 64, 64)
    backbone = VisualBackbone(name, image_size=64).eval()
    plain = saved_bytes(backbone, frames)
    expected = {
        key: each.grad.clone() for key, each in backbone.named_parameters() if each.grad is not None
    }
    backbone.zero_grad()
    keys = backbone.state_dict().keys()
    assert checkpoint_blocks(backbone) > 0
    assert saved_bytes(backbone, frames) < 0.5 * plain
    assert backbone.state_dict().keys() == keys
    for key, each in backbone.named_parameters():
        if each.grad is not None:
            torch.testing.assert_close(each.grad, expected[key], msg=key)


def test_a_network_without_known_blocks_is_left_alone() -> None:
    assert checkpoint_blocks(nn.Sequential(nn.Linear(2, 2))) == 0
