"""Visual backbones out of timm: four feature maps at strides 4, 8, 16 and 32.

Among them are PVTv2 (Wang et al., arXiv 2106.13797), ResNet (He et al., arXiv 1512.03385), Swin (Liu et al.,
arXiv 2103.14030), EfficientNet-Lite, ConvNeXt, and plain ViTs such as DINOv2 (Oquab et al., arXiv 2304.07193).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.visual import BACKBONES, TimmModel
from ecmvae.visual.simple_pyramid import SimplePyramid, grid_size
from ecmvae.visual.timm_models import create, find_maps, fit_names, normalisation_of, read_weights
from ecmvae.weight_files import compare_keys


class VisualBackbone(nn.Module):
    """A network of timm that returns its maps at strides 4, 8, 16 and 32, finest first.

    Args:
        name: One of `BACKBONES`, or a model of timm with or without a pretraining tag: ``convnext_tiny``,
            ``resnet50.tv_in1k``. A plain ViT is turned into a pyramid by `SimplePyramid`.
        weights: None (random), "package" (efficientnet_lite0 only), "timm" (its hub), or a weight file's path.
        image_size: Side of the square input in pixels, a multiple of 32; Swin and ViTs are built for it.
        drop_path: Stochastic depth in training: rate of the last block; the blocks before it have less.

    Attributes:
        channels: Channels of the four maps.
        normalisation: Mean and std of the frames, those of timm's pretrained weights.

    Raises:
        UserError: For an unknown name, a network without such maps or without drop path, or weights that are missing or
            do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str | None = None,
        image_size: int = 224,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        entry = BACKBONES.get(name) if name in BACKBONES else TimmModel(name)
        if not isinstance(entry, TimmModel):
            raise UserError(
                f"{name!r} is not a network of timm: build it with ecmvae.visual.build.build_backbone"
            )
        stages, patch = find_maps(entry.timm_name) if entry.stages is None else (entry.stages, None)
        side = image_size if patch is None else grid_size(image_size, patch)
        pretrained = weights == "timm"
        options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        network: Any
        if patch is None:
            options |= {"features_only": True, "out_indices": stages}
            network = create(entry.timm_name, image_size=side, pretrained=pretrained, **options)
            channels = network.feature_info.channels()
        else:
            vit = create(entry.timm_name, image_size=side, pretrained=pretrained, **options)
            network, channels = SimplePyramid(vit, stages, patch), [vit.embed_dim] * 4
        self.name = name
        self.network: nn.Module = network
        self.channels: tuple[int, ...] = tuple(channels)
        self.normalisation = normalisation_of(entry.timm_name)
        self._channels_last_maps = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self._before_stages = entry.before_stages
        self._unused: tuple[str, ...] = ()
        if entry.before_stages:
            network["layers_3"].blocks = nn.Identity()
            self._unused = ("layers_3.blocks.",)
        if weights is not None and not pretrained:
            # the network with its classifier, without memory for its weights
            with torch.device("meta"):
                full = create(entry.timm_name, image_size=side)
            state, where = read_weights(weights, name, full)
            self.load_named(fit_names(state, full, network.state_dict()), where)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """(N, 3, H, W), normalised, H and W multiples of 32 -> four maps (N, C_i, H/s, W/s), s = 4, 8, 16, 32."""
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

    def load_named(self, state: Mapping[str, Tensor], where: str) -> None:
        """Fill the network from tensors under the names of its own state dict; `where` is their source, for the error.

        Raises:
            UserError: Naming the keys that are missing, unexpected or of another shape.
        """
        own = self.network.state_dict()
        given = {key: value for key, value in state.items() if not key.startswith(self._unused)}
        compare_keys(f"{where} as weights of {self.name}", own, given)
        self.network.load_state_dict({**own, **given})
