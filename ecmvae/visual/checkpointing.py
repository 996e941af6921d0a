"""Activation checkpointing: a network keeps the inputs of its blocks and computes the rest again going backwards.

Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

_BLOCKS = ("Block", "Bottleneck", "InvertedResidual", "DepthwiseSeparableConv")
"""Ends of the names that timm gives the classes of its residual blocks."""


def checkpoint_blocks(network: nn.Module) -> int:
    """Let every residual block of a network of timm recompute its activations in the backward pass.

    Outputs and gradients stay the same. Batch normalisation in training mode sees every batch twice, which moves its
    running statistics further with each step.

    Returns:
        The number of blocks; 0 for a network without any that is known.
    """
    found = [module for module in network.modules() if type(module).__name__.endswith(_BLOCKS)]
    inner = {id(part) for block in found for part in block.modules() if part is not block}
    outer = [block for block in found if id(block) not in inner]
    for block in outer:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    return len(outer)
