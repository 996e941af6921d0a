"""SAM 2's image encoder, a Hiera: maps at strides 4, 8, 16 and 32 of a network that has learned to outline things.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", arXiv 2408.00714; Ryali et al., "Hiera", arXiv 2306.00989.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.foundation.loading import Loaded, load_network
from ecmvae.foundation.visual.plain_vit import normalisation_in


class SAM2Hiera(nn.Module):
    """The output of each of the four stages.

    Args:
        loaded: A ``Sam2HieraDetModel``.
    """

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.network, self.architecture = loaded.network, loaded.architecture
        self.channels = tuple(int(width) for width in self.network.config.embed_dim_per_stage)
        self.normalisation = normalisation_in(loaded.preprocessor)

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        image_size: int = 224,
    ) -> SAM2Hiera:
        """See `ecmvae.foundation.loading.load_network`; `image_size` may be any multiple of 32."""
        from transformers import Sam2HieraDetModel, Sam2Model

        kinds, default = ("sam2", "sam2_video"), "sam2-hiera-tiny"
        if architecture is not None or (not pretrained and weights is None):
            return cls(
                load_network(
                    Sam2HieraDetModel,
                    kinds=kinds,
                    default=default,
                    pretrained=False,
                    architecture=architecture,
                )
            )
        whole = load_network(
            Sam2Model, kinds=kinds, default=default, weights=weights, pretrained=pretrained
        )
        encoder = whole.network.vision_encoder.backbone
        return cls(replace(whole, network=encoder, architecture=_only(encoder, whole)))

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> maps (N, C_i, H/s, W/s), s = 4, 8, 16, 32."""
        stages = self.network(frames).intermediate_hidden_states
        return tuple(rearrange(each, "n h w c -> n c h w").contiguous() for each in stages)


def _only(encoder: Any, whole: Loaded) -> dict[str, Any]:
    """The architecture of the image encoder alone."""
    return {**whole.architecture, "network": encoder.config.to_dict()}
