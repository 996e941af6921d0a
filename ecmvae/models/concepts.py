"""A model without training: a tagger says what sounds and when, a segmenter says where it is.

The probability that a pixel sounds is that of at least one concept k sounding at the time and being there:
p(x, t) = 1 - prod_k (1 - a_k(t) m_k(x, t)), with the tagger's activity a_k and the segmenter's mask m_k. Such
pipelines were published before (docs/foundation.md). None of them can know which of two dogs barks, or that what sounds
is off screen while its like is in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ecmvae.audio import AUDIO_ENCODERS
from ecmvae.config import Config, DataConfig
from ecmvae.errors import UserError
from ecmvae.foundation.kept import KeptAnswers, identity
from ecmvae.foundation.names import SoundName, Vocabulary, find_vocabulary, parse_concepts, read_table
from ecmvae.foundation.visual.clipseg import CLIPSeg
from ecmvae.hub.concepts import ConceptsName
from ecmvae.models.base import Segmenter
from ecmvae.models.latents import LatentMode
from ecmvae.models.output import BranchOutput, ExtractedMaps, SegmentationOutput
from ecmvae.types import FrameSubset

_INAUDIBLE = 0.01
"""A concept that is less active is not looked for: it could add a hundredth to p at most."""
_MOST_AT_ONCE = 8
"""Concepts that are looked for in one frame where the user named none; the most active ones."""


@dataclass(frozen=True, eq=False)
class NamedMasks:
    """What sounds, where, and under which name.

    Attributes:
        probability: (B, T, S, S), that a pixel sounds.
        classes: (B, T, S, S), its likeliest concept, counted from 1; 0 where none is heard.
        activity: (B, T, K) of each concept, in [0, 1].
    """

    probability: Float[Tensor, "b t s s"]
    classes: UInt8[Tensor, "b t s s"]
    activity: Float[Tensor, "b t k"]


class Concepts(Segmenter):
    """A tagger and a text-prompted segmenter as one model. Nothing in it is trained.

    Args:
        tagger: An `AST`, `CLAP` or `PEAFrame` with its text branch.
        segmenter: A `CLIPSeg`.
        concepts: What to listen and look for; None = the tagger's own names, or everything in the table.
        table: From names to prompts; None = the packaged one.
        keep: Folder in which answers are kept for other calls; None = nowhere.
    """

    def __init__(
        self,
        tagger: Any,
        segmenter: CLIPSeg,
        concepts: Sequence[str] | None = None,
        *,
        table: Sequence[SoundName] | None = None,
        keep: Path | None = None,
    ) -> None:
        super().__init__(segmenter, tagger, image_size=segmenter.image_size, freeze_backbone=True)
        self._open = concepts is None
        self._vocabulary: Vocabulary = find_vocabulary(tagger.names, concepts, table)
        self.class_names = ("background", *self._vocabulary.prompts)
        self._kept = KeptAnswers(keep)
        self._heard_by, self._seen_by = (identity(type(part).__name__, part.folder) for part in (tagger, segmenter))
        self.config = Config(data=DataConfig(image_size=32 * -(-segmenter.image_size // 32), hop_seconds=1.0))

    @classmethod
    def load(
        cls, name: ConceptsName, concepts: str | Sequence[str] | None = None, *, keep: Path | None = None
    ) -> Concepts:
        """The model of a name, from weights that were fetched.

        Args:
            name: Says which tagger and segmenter.
            concepts: See `choose_concepts`.
            keep: See the class.

        Raises:
            UserError: If weights are not there or do not fit, or the tagger cannot name a concept.
        """
        chosen, table = choose_concepts(concepts)
        kind = AUDIO_ENCODERS.get(name.tagger)
        texts = {} if name.tagger == "ast" else {"texts": True}
        tagger = kind.from_weights(name.tagger_weights, **texts)
        segmenter = CLIPSeg.from_weights(name.segmenter_weights)
        model = cls(tagger, segmenter, chosen, table=table, keep=keep)
        return model.eval()  # type: ignore[return-value]

    def with_concepts(self, concepts: str | Sequence[str] | None) -> Concepts:
        """The same networks with other concepts."""
        chosen, table = choose_concepts(concepts)
        other = Concepts(self.audio_encoder, self.segmenter, chosen, table=table)
        other._kept = self._kept
        return other.eval()  # type: ignore[return-value]

    def save_pretrained(self, *_: object, **__: object) -> Path:
        """Refuse: the parts are folders of the hub already.

        Raises:
            UserError: Always.
        """
        raise UserError("a model without training is not saved: name it as concepts:ast+clipseg")

    @property
    def segmenter(self) -> CLIPSeg:
        """Says where a text is."""
        assert isinstance(self.backbone, CLIPSeg)
        return self.backbone

    @torch.no_grad()
    def encode_audio(self, features: Float[Tensor, "b t *f"] | None) -> Float[Tensor, "b t a"]:
        """What the tagger hears in every frame, whatever the concepts are: (B, T, ...) -> (B, T, A)."""
        if features is None:
            raise UserError("these clips have no sound in the form that the tagger takes")
        tagger: Any = self.audio_encoder
        heard = self._kept(self._heard_by, tagger.listen, features.flatten(0, 1))
        return rearrange(heard, "(b t) a -> b t a", b=features.shape[0])

    @torch.no_grad()
    def extract_features(self, frames: Float[Tensor, "b t 3 h w"]) -> tuple[Tensor, ...]:
        """What the segmenter sees in every frame, whatever the concepts are: one map (B, T, L, P, R)."""
        self._check_size(frames)
        seen = self._kept(self._seen_by, self.segmenter.look, frames.flatten(0, 1))
        return ExtractedMaps((rearrange(seen, "(b t) ... -> b t ...", b=frames.shape[0]),))

    def activities(self, audio: Float[Tensor, "b t a"]) -> Float[Tensor, "b t k"]:
        """How surely each concept sounds, in [0, 1], from what `encode_audio` returned."""
        heard, members, tagger = audio.flatten(0, 1), self._vocabulary.members, self.audio_encoder
        if members is None:
            found: Tensor = tagger.activities(heard, self._vocabulary.prompts)  # type: ignore[union-attr, operator]
        else:
            found = torch.stack([heard[:, list(each)].amax(dim=1) for each in members], dim=1)
        return rearrange(found, "(b t) k -> b t k", b=audio.shape[0])

    @torch.no_grad()
    def name_masks(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        features: Sequence[Tensor] | None = None,
    ) -> NamedMasks:
        """Masks with their names; memory for the masks of one frame beside the result."""
        (seen,) = features or self.extract_features(frames)
        activity = self.activities(audio)
        probability = frames.new_zeros(*frames.shape[:2], *frames.shape[-2:])
        classes = torch.zeros_like(probability, dtype=torch.uint8)
        for b in range(frames.shape[0]):
            for t in range(frames.shape[1]):
                chosen = self._audible(activity[b, t])
                if len(chosen):
                    prompts = [self._vocabulary.prompts[k] for k in chosen.tolist()]
                    logits = self.segmenter.outline(seen[b, t].float(), prompts).float()
                    sounding = activity[b, t, chosen, None, None] * logits.sigmoid()  # (k, S, S)
                    probability[b, t] = 1 - (1 - sounding).prod(dim=0)
                    classes[b, t] = (chosen[sounding.argmax(dim=0)] + 1).to(torch.uint8)
        return NamedMasks(probability, classes, activity)

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | FrameSubset | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Logits (B, T, 1, S, S) of p; there are no latents, and masks have no effect. See `Segmenter.forward`."""
        self._check_size(frames)
        probability = self.name_masks(frames, audio, features).probability
        logits = probability.clamp(1e-6, 1 - 1e-6).logit()[:, :, None]
        return SegmentationOutput(logits=logits, prior_branch=BranchOutput(logits, None, (), ()))

    def _audible(self, activity: Float[Tensor, " k"]) -> Tensor:
        """Numbers of the concepts that are looked for, most active first."""
        order = activity.argsort(descending=True)
        chosen = order[activity[order] >= _INAUDIBLE]
        return chosen[:_MOST_AT_ONCE] if self._open else chosen

    def _check_size(self, frames: Tensor) -> None:
        if frames.shape[-2:] != (self.image_size, self.image_size):
            side, found = self.image_size, tuple(frames.shape[-2:])
            raise UserError(f"frames are {found}, and the segmenter takes {side} x {side} pixels: resize them")


def choose_concepts(text: str | Sequence[str] | None) -> tuple[tuple[str, ...] | None, tuple[SoundName, ...] | None]:
    """Concepts and table from what a user says: words with commas between them, a table's path (.csv), or None.

    Raises:
        UserError: If they are not usable.
    """
    if text is None:
        return None, None
    if isinstance(text, str) and text.endswith(".csv"):
        return None, read_table(Path(text))
    return parse_concepts(text), None
