"""Create timm's networks, and ask timm what they offer: strides, input size, statistics of their pretraining."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch

from ecmvae.errors import UserError
from ecmvae.visual import BACKBONES
from ecmvae.visual.normalisation import IMAGENET, Normalisation

STRIDES = (4, 8, 16, 32)
"""Pixels of the frame per pixel of the map, finest first."""


@dataclass(frozen=True)
class Layout:
    """Where a network has its maps.

    Args:
        stages: timm's ``out_indices`` of four maps: the last of each stride, or evenly spaced blocks of a plain ViT.
        patch: Side of a plain ViT's patches in pixels; None for a network with maps at all four strides.
    """

    stages: tuple[int, ...]
    patch: int | None = None


def check_name(name: str) -> None:
    """Refuse a name or pretraining tag that timm does not know.

    Raises:
        UserError: With the nearest names of this project and of timm.
    """
    if not timm.is_model(name):
        known = dict.fromkeys([*BACKBONES, *timm.list_models()])
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
        nearest = f"did you mean {' or '.join(close)}? Choose" if close else "choose"
        raise UserError(
            f"unknown visual backbone {name!r}: {nearest} from {', '.join(BACKBONES)}, or any timm model with maps at "
            "strides 4, 8, 16 and 32"
        )
    arch, _, tag = name.partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{arch}.*")]
    if tag and tag not in tags:
        raise UserError(f"unknown pretraining tag {tag!r} of {arch}: choose from {', '.join(tags) or '(none)'}")


def normalisation_of(name: str) -> Normalisation:
    """Mean and std of timm's pretrained weights of that name; ImageNet's where timm has no weights."""
    config: Any = timm.get_pretrained_cfg(name)
    return Normalisation(config.mean, config.std) if config else IMAGENET


@cache
def layout_of(name: str) -> Layout:
    """Find the four maps of a network, by building it on PyTorch's meta device: without memory for its weights.

    Raises:
        UserError: If it has neither maps at strides 4, 8, 16 and 32 nor four blocks of one stride.
    """
    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, features_only=True)
    except Exception as error:  # each of timm's networks says in its own way that it gives no maps
        raise UserError(f"{name} cannot be the visual backbone: timm finds no feature maps in it ({error})") from error
    strides = [level["reduction"] for level in network.feature_info.info]
    if set(STRIDES) <= set(strides):
        last = {stride: index for index, stride in enumerate(strides)}
        return Layout(tuple(last[stride] for stride in STRIDES))
    blocks = len(strides)
    if blocks >= 4 and len(set(strides)) == 1:
        return Layout(tuple(blocks * quarter // 4 - 1 for quarter in (1, 2, 3, 4)), patch=strides[0])
    raise UserError(
        f"{name} cannot be the visual backbone: its maps have strides {', '.join(map(str, strides))}; "
        "needed are 4, 8, 16 and 32, or a plain ViT"
    )


def create(name: str, *, image_size: int, pretrained: bool = False, **options: Any) -> Any:
    """Call `timm.create_model`, with the image size if the architecture depends on it.

    Args:
        name: A name timm knows.
        image_size: Side of the square input in pixels.
        pretrained: Fetch the weights from timm's hub.
        **options: Passed on.

    Raises:
        UserError: If the pretrained weights are not available.
    """
    config = timm.get_pretrained_cfg(name)
    if config and config.fixed_input_size:
        options["img_size"] = image_size
    if pretrained and not timm.is_model_pretrained(name):
        raise UserError(f"timm has no pretrained weights of {name}: set model.visual.weights to a weight file or null")
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except OSError as error:  # what the hub raises without a network
        raise UserError(
            f"cannot fetch the weights of {name} from timm's hub ({type(error).__name__}): "
            "name a weight file in model.visual.weights, or set it to null"
        ) from error
