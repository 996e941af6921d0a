"""SAM 2: masks of what is in a box.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", arXiv 2408.00714.
"""

from __future__ import annotations

from ecmvae.foundation.visual.box_prompted import BoxPrompted


class SAM2(BoxPrompted):
    """With a Hiera as image encoder."""

    model, kinds, default = "Sam2Model", ("sam2", "sam2_video"), "sam2-hiera-tiny"
