"""EdgeTAM: SAM 2 with a RepViT as image encoder, for phones; masks of what is in a box.

Zhou et al., "EdgeTAM: On-Device Track Anything Model", arXiv 2501.07256.
"""

from __future__ import annotations

from ecmvae.foundation.visual.box_prompted import BoxPrompted


class EdgeTAM(BoxPrompted):
    """With a RepViT as image encoder."""

    model, kinds, default = "EdgeTamModel", ("edgetam", "edgetam_video"), "edgetam"
