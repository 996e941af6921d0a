"""Text-prompted segmenters by the names of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecmvae.registry import Registry

if TYPE_CHECKING:
    from ecmvae.foundation.visual.boxes import BoxSegmenter
    from ecmvae.foundation.visual.clipseg import CLIPSeg

_HERE = "ecmvae.foundation.visual"

TEXT_PROMPTED: Registry[type] = Registry(
    "part of a segmenter",
    {
        "clipseg": f"{_HERE}.clipseg:CLIPSeg",
        "grounding_dino": f"{_HERE}.grounding_dino:GroundingDINO",
        "owlv2": f"{_HERE}.owlv2:OWLv2",
        "sam2": f"{_HERE}.sam2:SAM2",
        "edgetam": f"{_HERE}.edgetam:EdgeTAM",
    },
    needs=("from_weights",),
)
"""What `ecmvae.hub.concepts.ConceptsName` names: segmenters, detectors and mask models."""


def load_segmenter(parts: Sequence[tuple[str, str]]) -> CLIPSeg | BoxSegmenter:
    """A text-prompted segmenter.

    Args:
        parts: Name and weights of a segmenter, or of a detector and a mask model.

    Raises:
        UserError: If weights are not there or do not fit.
    """
    loaded = [TEXT_PROMPTED.get(name).from_weights(weights) for name, weights in parts]  # type: ignore[attr-defined]
    if len(loaded) == 1:
        return loaded[0]  # type: ignore[no-any-return]
    from ecmvae.foundation.visual.boxes import BoxSegmenter

    return BoxSegmenter(*loaded)
