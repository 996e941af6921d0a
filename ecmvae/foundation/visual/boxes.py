"""From texts to the masks of single things: a detector draws boxes, a network of the SAM 2 family fills them.

Grounding DINO with SAM 2 is known as Grounded SAM 2 (Ren et al., arXiv 2401.14159); any pair of the two kinds works.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.foundation.kept import identity
from ecmvae.visual.normalisation import Normalisation

MOST = 16
"""Things of one picture that are kept, the surest ones: SAM 2 fills that many boxes at once."""
_SAME_BOX = 0.7
"""Two boxes of one text are the same thing where their intersection over union is larger."""


@runtime_checkable
class Detector(Protocol):
    """A network that draws boxes, such as `GroundingDINO`."""

    normalisation: Normalisation
    folder: Path | None
    threshold: float

    def detect(self, frames: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Corners (N, Q, 4) and scores (N, Q, K) of K texts."""


@runtime_checkable
class MaskModel(Protocol):
    """A network that fills boxes, such as `SAM2`: frames of side `image_size`, masks of side `map_size`."""

    normalisation: Normalisation
    folder: Path | None
    image_size: int
    map_size: int

    def embed(self, frames: Tensor) -> list[Tensor]:
        """What is seen in frames (N, 3, H, W), whatever the boxes are; N rows each."""

    def outline(self, maps: list[Tensor], corners: Tensor) -> Tensor:
        """Logits (D, P, P) of what is in D boxes (D, 4) of one picture."""


class BoxSegmenter(nn.Module):
    """A text-prompted segmenter that tells the things of one name apart.

    Args:
        detector: A `GroundingDINO` or an `OWLv2`.
        mask_model: A `SAM2` or an `EdgeTAM`.
    """

    def __init__(self, detector: Detector, mask_model: MaskModel) -> None:
        super().__init__()
        self.detector, self.mask_model = detector, mask_model
        self.normalisation = detector.normalisation
        self.image_size, self.map_size = mask_model.image_size, mask_model.map_size

    @property
    def identity(self) -> str:
        """Of both networks, their weights and what is kept of their answers; "" if one of them is random."""
        found = [
            identity(type(part).__name__, part.folder) for part in (self.detector, self.mask_model)
        ]
        return " ".join([*found, f"{self.detector.threshold:g}"]) if all(found) else ""

    @torch.no_grad()
    def find(
        self, frames: Float[Tensor, "n 3 h w"], prompts: Sequence[str]
    ) -> list[Float[Tensor, "_ c"]]:
        """The things that K texts name in each of N pictures, surest first.

        Returns:
            For each picture a row for each thing, C = 2 + P * P: number of its text, score, logits of its (P, P) mask.
        """
        corners, scores = self.detector.detect(frames, prompts)
        best, names = scores.max(dim=-1)
        chosen = [self._choose(*each) for each in zip(corners, best, names, strict=True)]
        seen = [place for place, kept in enumerate(chosen) if len(kept)]
        empty = frames.new_zeros(0, 2 + self.map_size**2, dtype=torch.float32)
        found = [empty] * len(frames)
        if not seen:
            return found
        pictures = frames[seen]
        if self.mask_model.normalisation != self.normalisation:
            pictures = self.mask_model.normalisation(self.normalisation.pictures(pictures) * 255)
        maps = self.mask_model.embed(pictures)
        for row, place in enumerate(seen):
            kept = chosen[place]
            logits = self.mask_model.outline(
                [each[row : row + 1] for each in maps], corners[place, kept]
            )
            about = torch.stack([names[place, kept].float(), best[place, kept]], dim=1)
            found[place] = torch.cat([about, logits.flatten(1)], dim=1)
        return found

    def _choose(self, corners: Tensor, scores: Tensor, names: Tensor) -> Tensor:
        """Numbers of the boxes that are kept, surest first."""
        from torchvision.ops import batched_nms

        sure = (scores > self.detector.threshold).nonzero()[:, 0]
        kept: Tensor = batched_nms(corners[sure], scores[sure], names[sure], _SAME_BOX)[:MOST]
        return sure[kept]
