"""DINOv3, the vision transformers.

Simeoni et al., "DINOv3", arXiv 2508.10104. The weights are under the DINOv3 License and gated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecmvae.foundation.loading import load_network
from ecmvae.foundation.visual.plain_vit import SETTINGS, PlainViT


class DINOv3ViT(PlainViT):
    """Patches of 16 pixels, rotary positions, register tokens."""

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        image_size: int = 224,
    ) -> DINOv3ViT:
        """See `ecmvae.foundation.loading.load_network`; `image_size` may be any multiple of 32."""
        from transformers import DINOv3ViTBackbone

        given = {"weights": weights, "pretrained": pretrained, "architecture": architecture, "settings": SETTINGS}
        return cls(load_network(DINOv3ViTBackbone, kinds=("dinov3_vit",), default="dinov3-vits16", **given))  # type: ignore[arg-type]
