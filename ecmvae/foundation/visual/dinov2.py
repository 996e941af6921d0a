"""DINOv2: a ViT trained without labels.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193.
"""

from __future__ import annotations

from ecmvae.foundation.visual.plain_vit import PlainViT


class DINOv2(PlainViT):
    """Patches of 14 pixels; a frame is shrunk so that each covers 16 of its pixels."""

    backbone, kind, default = "Dinov2Backbone", "dinov2", "dinov2-small"
