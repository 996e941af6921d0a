"""DINOv3, the ConvNeXts: maps at strides 4, 8, 16 and 32 of their own.

Simeoni et al., "DINOv3", arXiv 2508.10104. The weights are under the DINOv3 License and gated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.foundation.loading import Loaded, load_network
from ecmvae.foundation.visual.plain_vit import normalisation_in

_STAGES = ["stage1", "stage2", "stage3", "stage4"]


class DINOv3ConvNeXt(nn.Module):
    """The output of each of the four stages.

    Args:
        loaded: A ``DINOv3ConvNextBackbone``.
    """

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.network, self.architecture = loaded.network, loaded.architecture
        self.network.out_features = _STAGES
        self.channels = tuple(int(width) for width in self.network.config.hidden_sizes)
        self.normalisation = normalisation_in(loaded.preprocessor)

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        image_size: int = 224,
    ) -> DINOv3ConvNeXt:
        """See `ecmvae.foundation.loading.load_network`; `image_size` may be any multiple of 32."""
        from transformers import DINOv3ConvNextBackbone

        given = {"weights": weights, "pretrained": pretrained, "architecture": architecture}
        kinds, settings = ("dinov3_convnext",), {"out_features": None}
        return cls(
            load_network(
                DINOv3ConvNextBackbone,
                kinds=kinds,
                default="dinov3-convnext-tiny",
                settings=settings,
                **given,  # type: ignore[arg-type]
            )
        )

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> maps (N, C_i, H/s, W/s), s = 4, 8, 16, 32."""
        return tuple(self.network(frames).feature_maps)
