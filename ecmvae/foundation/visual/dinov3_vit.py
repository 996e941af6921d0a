"""DINOv3, the vision transformers.

Simeoni et al., "DINOv3", arXiv 2508.10104. The weights are under the DINOv3 License and gated.
"""

from __future__ import annotations

from ecmvae.foundation.visual.plain_vit import PlainViT


class DINOv3ViT(PlainViT):
    """Patches of 16 pixels, rotary positions, register tokens."""

    backbone, kind, default = "DINOv3ViTBackbone", "dinov3_vit", "dinov3-vits16"
