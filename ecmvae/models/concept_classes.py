"""A model without training that answers with the classes of a data set, such as the seventy of AVSS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ecmvae.foundation.classes import find_classes, read_classes
from ecmvae.models.concepts import Concepts
from ecmvae.models.latents import LatentMode
from ecmvae.models.output import BranchOutput, SegmentationOutput
from ecmvae.types import FrameSubset

_NEVER = -30.0
"""Logit of a class that a pixel does not have."""


class ConceptClasses(Concepts):
    """`Concepts` that listens and looks for the classes of a data set.

    A pixel is background where p, the probability that something sounds there, is at most one half; else it has the
    class of its likeliest concept.

    Args:
        model: Its networks are shared, and so are its kept answers.
        class_names: By number; 0 is the background.
        table: A table of classes (.csv); None = the packaged one, see `ecmvae.foundation.classes`.

    Attributes:
        heard_as: Class -> names under which the tagger hears it; empty where it never does.

    Raises:
        UserError: If the table is unusable, or no class can be heard.
    """

    _numbers: Tensor

    def __init__(
        self, model: Concepts, class_names: Sequence[str], table: Path | None = None
    ) -> None:
        tagger = model.audio_encoder
        super().__init__(tagger, model.segmenter)
        given = None if table is None else read_classes(table)
        found = find_classes(class_names, tagger.names, given)  # type: ignore[union-attr, arg-type]
        self._vocabulary, self.heard_as = found.vocabulary, found.heard_as
        self._kept, self.config = model._kept, model.config
        self.class_names, self.num_classes = tuple(class_names), len(class_names)
        self.register_buffer("_numbers", torch.tensor([0, *found.numbers]), persistent=False)
        self.eval()

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | FrameSubset | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Logits (B, T, C, S, S): 0 of the background, that of p of the likeliest class. See `Segmenter.forward`."""
        self._check_size(frames)
        found = self.name_masks(frames, audio, features)
        numbers: Tensor = self._numbers[found.classes.long()][:, :, None]  # (B, T, 1, S, S)
        sounding = found.probability.clamp(1e-6, 1 - 1e-6).logit()[:, :, None]
        logits = sounding.new_full(
            (*found.classes.shape[:2], self.num_classes, *found.classes.shape[2:]), _NEVER
        )
        logits = logits.scatter(2, numbers, sounding)
        logits[:, :, 0] = 0.0
        return SegmentationOutput(logits=logits, prior_branch=BranchOutput(logits, None, (), ()))
