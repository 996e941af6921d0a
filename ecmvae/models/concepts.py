"""A model without training: a tagger says what sounds and when, a segmenter says where it is.

The probability that a pixel sounds is that of at least one concept k sounding at the time and being there:
p(x, t) = 1 - prod_k (1 - a_k(t) m_k(x, t)), with the tagger's activity a_k and the segmenter's mask m_k. Such
pipelines were published before (docs/foundation.md). None of them can know which of two dogs barks, or that what sounds
is off screen while its like is in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from ecmvae.audio import AUDIO_ENCODERS
from ecmvae.config import Config, DataConfig
from ecmvae.errors import UserError
from ecmvae.foundation.kept import KeptAnswers, identity
from ecmvae.foundation.names import (
    SoundName,
    Vocabulary,
    find_vocabulary,
    parse_concepts,
    read_table,
)
from ecmvae.foundation.visual.boxes import BoxSegmenter
from ecmvae.foundation.visual.clipseg import CLIPSeg
from ecmvae.foundation.visual.segmenters import load_segmenter
from ecmvae.hub.concepts import ConceptsName
from ecmvae.models.base import Segmenter
from ecmvae.models.latents import LatentMode
from ecmvae.models.output import BranchOutput, ExtractedMaps, SegmentationOutput
from ecmvae.models.scenes import INAUDIBLE, Things, combine
from ecmvae.types import FrameSubset

_MOST_AT_ONCE = 8
"""Concepts that are looked for in one frame where the user named none; the most active ones. A detector looks for as
many always, audible or not, so that its answer is that of the picture."""


@dataclass(frozen=True, eq=False)
class NamedMasks:
    """What sounds, where, and under which name.

    Attributes:
        probability: (B, T, P, P), that a pixel sounds; P is S, or less with a segmenter of coarser masks.
        classes: (B, T, P, P), its likeliest concept, counted from 1; 0 where none is heard.
        activity: (B, T, K) of each concept, in [0, 1].
        things: Of the B * T frames, from a segmenter that tells things of one name apart; else None.
    """

    probability: Float[Tensor, "b t p p"]
    classes: UInt8[Tensor, "b t p p"]
    activity: Float[Tensor, "b t k"]
    things: tuple[Things, ...] | None = None


class Concepts(Segmenter):
    """A tagger and a text-prompted segmenter as one model. Nothing in it is trained.

    Args:
        tagger: A `YAMNet`, an `AST`, or a `CLAP` or `PEAFrame` with its text branch.
        segmenter: A `CLIPSeg` or a `BoxSegmenter`.
        concepts: What to listen and look for; None = the tagger's own names, or everything in the table.
        table: From names to prompts; None = the packaged one.
        keep: Folder in which answers are kept for other calls; None = nowhere.
    """

    def __init__(
        self,
        tagger: Any,
        segmenter: CLIPSeg | BoxSegmenter,
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
        self._heard_by = identity(type(tagger).__name__, tagger.folder)
        self._seen_by = segmenter.identity
        side = 32 * -(-segmenter.image_size // 32)
        # Frames are answered alone: of large ones, a predictor need not hold five seconds at once.
        num_frames = 1 if isinstance(segmenter, BoxSegmenter) else 5
        self.config = Config(
            data=DataConfig(image_size=side, num_frames=num_frames, hop_seconds=1.0)
        )

    @classmethod
    def load(
        cls,
        name: ConceptsName,
        concepts: str | Sequence[str] | None = None,
        *,
        keep: Path | None = None,
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
        texts = {} if name.tagger in ("ast", "yamnet") else {"texts": True}
        tagger = kind.from_weights(name.tagger_weights, **texts)
        model = cls(tagger, load_segmenter(name.segmenter_parts), chosen, table=table, keep=keep)
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
    def segmenter(self) -> CLIPSeg | BoxSegmenter:
        """Says where a text is."""
        assert isinstance(self.backbone, CLIPSeg | BoxSegmenter)
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
        """What the segmenter sees in every frame, whatever the concepts are: one map (B, T, L, P, R).

        A detector looks for words: of it these are the frames themselves.
        """
        self._check_size(frames)
        if isinstance(self.segmenter, BoxSegmenter):
            return ExtractedMaps((frames,))
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
        activity, segmenter = self.activities(audio), self.segmenter
        loudness = activity.flatten(0, 1)
        side = segmenter.map_size if isinstance(segmenter, BoxSegmenter) else segmenter.image_size
        probability = frames.new_zeros(len(loudness), side, side)
        classes = torch.zeros_like(probability, dtype=torch.uint8)
        things: list[Things] = []
        if isinstance(segmenter, BoxSegmenter):
            for place, found in enumerate(self._find(segmenter, seen.flatten(0, 1), loudness)):
                masks = rearrange(found[:, 2:], "i (h w) -> i h w", h=side)
                concepts = found[:, 0].long()
                inside = masks.sigmoid()
                probability[place], classes[place], numbers = combine(
                    inside, concepts, loudness[place]
                )
                things.append(Things(masks > 0, (concepts + 1).to(torch.uint8), numbers))
        else:
            for place, looked in enumerate(seen.flatten(0, 1)):
                chosen = self._audible(loudness[place])
                if len(chosen):
                    inside = (
                        segmenter.outline(looked.float(), self._prompts(chosen)).float().sigmoid()
                    )
                    probability[place], classes[place], _ = combine(inside, chosen, loudness[place])
        probability, classes = (
            rearrange(each, "(b t) h w -> b t h w", b=frames.shape[0])
            for each in (probability, classes)
        )
        return NamedMasks(
            probability,
            classes,
            activity,
            tuple(things) if isinstance(segmenter, BoxSegmenter) else None,
        )

    def _find(
        self,
        segmenter: BoxSegmenter,
        frames: Float[Tensor, "n 3 h w"],
        loudness: Float[Tensor, "n k"],
    ) -> list[Float[Tensor, "_ c"]]:
        """What `BoxSegmenter.find` returns, with the concepts' numbers; frames in which the same is looked for at once.

        Nothing is looked for in a frame in which no concept is audible.
        """
        count = loudness.shape[1]
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, each in enumerate(loudness):
            audible = sorted(self._audible(each).tolist())
            if audible:
                chosen = tuple(range(count)) if count <= _MOST_AT_ONCE else tuple(audible)
                alike.setdefault(chosen, []).append(place)
        answers = [frames.new_zeros(0, 2 + segmenter.map_size**2)] * len(frames)
        for chosen, places in alike.items():
            wanted = torch.tensor(chosen, device=frames.device)
            prompts = self._prompts(wanted)
            name = self._seen_by and f"{self._seen_by} {prompts}"
            for place, found in zip(
                places,
                self._kept.each(name, partial(segmenter.find, prompts=prompts), frames[places]),
                strict=True,
            ):
                numbers = wanted[found[:, 0].long()].to(found.dtype)
                answers[place] = torch.cat([numbers[:, None], found[:, 1:]], dim=1)
        return answers

    def _prompts(self, chosen: Tensor) -> list[str]:
        return [self._vocabulary.prompts[k] for k in chosen.tolist()]

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
        if probability.shape[-1] != self.image_size:
            probability = F.interpolate(
                probability, (self.image_size, self.image_size), mode="bilinear"
            )
        logits = probability.clamp(1e-6, 1 - 1e-6).logit()[:, :, None]
        return SegmentationOutput(logits=logits, prior_branch=BranchOutput(logits, None, (), ()))

    def _audible(self, activity: Float[Tensor, " k"]) -> Tensor:
        """Numbers of the concepts that are looked for, most active first."""
        order = activity.argsort(descending=True)
        chosen = order[activity[order] >= INAUDIBLE]
        return chosen[:_MOST_AT_ONCE] if self._open else chosen

    def _check_size(self, frames: Tensor) -> None:
        if frames.shape[-2:] != (self.image_size, self.image_size):
            side, found = self.image_size, tuple(frames.shape[-2:])
            raise UserError(
                f"frames are {found}, and the segmenter takes {side} x {side} pixels: resize them"
            )


def choose_concepts(
    text: str | Sequence[str] | None,
) -> tuple[tuple[str, ...] | None, tuple[SoundName, ...] | None]:
    """Concepts and table from what a user says: words with commas between them, a table's path (.csv), or None.

    Raises:
        UserError: If they are not usable.
    """
    if text is None:
        return None, None
    if isinstance(text, str) and text.endswith(".csv"):
        return None, read_table(Path(text))
    return parse_concepts(text), None
