"""Sight: backbones that turn frames into feature maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ecmvae.registry import Registry


@dataclass(frozen=True)
class TimmModel:
    """A network of timm under a name of this project.

    Args:
        timm_name: Its name in timm, with the tag of the weights that `timm` stands for in ``model.visual.weights``.
        stages: timm's ``out_indices`` of the maps at strides 4, 8, 16 and 32; None: ask timm.
        before_stages: Take the map that enters each stage of a Swin transformer instead of the one that leaves it.
    """

    timm_name: str
    stages: tuple[int, ...] | None = None
    before_stages: bool = False


# convolutional networks have a map at stride 2 before the others
_FIRST, _SECOND = ((0, 1, 2, 3), (1, 2, 3, 4))
# The file that ECMVAE's code names; timm's own default was pretrained on ImageNet-22k.
_SWIN_B = "swin_base_patch4_window7_224.ms_in1k"

BACKBONES: Registry[TimmModel | Callable[..., Any]] = Registry(
    "visual backbone",
    {
        **{f"pvt_v2_b{size}": TimmModel(f"pvt_v2_b{size}.in1k", _FIRST) for size in range(6)},
        # torchvision's V1, from which AVSBench and ECMVAE start; timm's own default is another training, a1_in1k.
        "resnet50": TimmModel("resnet50.tv_in1k", _SECOND),
        "swin_b": TimmModel(_SWIN_B, _FIRST),
        # As the released ECMVAE has it: the blocks of the last stage are never used.
        "swin_b_pre": TimmModel(_SWIN_B, _FIRST, before_stages=True),
        "efficientnet_lite0": TimmModel("tf_efficientnet_lite0", _SECOND),
        # Foundation models, read from the hub's cache or a folder of the hub.
        "dinov2": "ecmvae.foundation.visual.dinov2:DINOv2",
        "dinov3_vit": "ecmvae.foundation.visual.dinov3_vit:DINOv3ViT",
        "dinov3_convnext": "ecmvae.foundation.visual.dinov3_convnext:DINOv3ConvNeXt",
        "sam2_hiera": "ecmvae.foundation.visual.sam2_hiera:SAM2Hiera",
    },
)
"""Short names; beside them every suitable timm name works, see `ecmvae.visual.build.build_backbone`."""
