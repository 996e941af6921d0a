"""DINOv2: a ViT trained without labels.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecmvae.foundation.loading import load_network
from ecmvae.foundation.visual.plain_vit import SETTINGS, PlainViT


class DINOv2(PlainViT):
    """Patches of 14 pixels; a frame is shrunk so that each covers 16 of its pixels."""

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        image_size: int = 224,
    ) -> DINOv2:
        """See `ecmvae.foundation.loading.load_network`; `image_size` may be any multiple of 32."""
        from transformers import Dinov2Backbone

        given = {"weights": weights, "pretrained": pretrained, "architecture": architecture, "settings": SETTINGS}
        return cls(load_network(Dinov2Backbone, kinds=("dinov2",), default="dinov2-small", **given))  # type: ignore[arg-type]
