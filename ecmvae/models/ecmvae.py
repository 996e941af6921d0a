"""ECMVAE: a conditional multimodal VAE that segments the sounding objects in a video.

Mao et al., "Multimodal Variational Auto-encoder based Audio-Visual Segmentation", ICCV 2023, arXiv 2310.08303.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.config import ModelConfig
from ecmvae.errors import UserError
from ecmvae.models.agreement import AgreementBranch, FusedAnswer
from ecmvae.models.base import Segmenter
from ecmvae.models.branch import Branch, ClipInputs
from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder, foreground_logits
from ecmvae.models.fusion import FusionChoice, build_fusion
from ecmvae.models.latents import (
    FactorizedLatentEncoder,
    LatentFusion,
    LatentInjection,
    LatentMode,
    LatentSamples,
)
from ecmvae.models.output import BranchOutput, ExtractedMaps, Picture, SegmentationOutput
from ecmvae.models.regions import RegionAnswer
from ecmvae.types import FrameSubset, as_subset
from ecmvae.vae.conditional import ConditionalLatentModel
from ecmvae.vae.latents import LatentSet
from ecmvae.vae.likelihoods import BernoulliLikelihood
from ecmvae.visual.build import channels_of
from ecmvae.visual.classifier import DenseClassifier, code_table

_NO_LATENTS = (
    "this model has no latents (model.latent.kind: none), so it has no bound and nothing to draw"
)


class ECMVAE(Segmenter, ConditionalLatentModel[ClipInputs]):
    """The paper's figure: one backbone, and two branches of latents, fusion with the audio, and a decoder.

    The prior branch sees frames and audio. The posterior branch sees the masks as well and exists for training only.
    Both share the backbone and the fusion blocks.

    As a `ConditionalLatentModel` it scores N masks (N, 1, H, W), each pixel a Bernoulli variable, under clips prepared
    by `condition`: ``model.elbo(masks, model.condition(frames, audio), num_samples=10)``.

    Args:
        backbone: Four maps at strides 4, 8, 16, 32.
        audio_encoder: Audio features to embeddings; None if embeddings are computed elsewhere.
        audio_dim: A, width of the embeddings; by default the audio encoder's, or VGGish's without one.
        image_size: Side of the square frames in pixels; the latent encoders are built for it.
        channels: C, width of neck, fusion and decoder.
        neck: "basic" or "aspp".
        num_classes: K, see `Segmenter`. The posterior sees the binary mask in both cases.
        fusion: "tpavi", "gate", "none", an import path, or a callable ``(channels, audio_dim) -> nn.Module``; see
            `ecmvae.models.fusion`.
        latent_kind: "factorized", "single", "none", or "agreement", see `ecmvae.models.agreement`.
        latent_fusion: "concat" or "poe".
        latent_dim: L.
        weak_posterior: What the posterior does with frames that have no mask, see `LatentConfig.weak_posterior`.
        freeze_backbone: See `Segmenter`.
        freeze_audio: See `Segmenter`.
        classifier: Of `fusion` "regions", see `ecmvae.models.regions.RegionAnswer`.
        table: Likewise.
        second_look: Likewise.
        bare_names: Likewise.
    """

    def __init__(
        self,
        backbone: nn.Module,
        audio_encoder: nn.Module | None = None,
        *,
        audio_dim: int | None = None,
        image_size: int = 224,
        channels: int = 128,
        neck: Literal["basic", "aspp"] = "basic",
        num_classes: int = 1,
        fusion: FusionChoice = "tpavi",
        latent_kind: Literal["none", "single", "factorized", "agreement"] = "factorized",
        latent_fusion: Literal["concat", "poe"] = "concat",
        latent_dim: int = 16,
        weak_posterior: Literal["labelled", "repeat_first", "pseudo"] = "labelled",
        freeze_backbone: bool = False,
        freeze_audio: bool = True,
        classifier: DenseClassifier | None = None,
        table: Tensor | None = None,
        second_look: bool = False,
        bare_names: float = 0.0,
    ) -> None:
        super().__init__(
            backbone,
            audio_encoder,
            audio_dim=audio_dim,
            image_size=image_size,
            num_classes=num_classes,
            freeze_backbone=freeze_backbone,
            freeze_audio=freeze_audio,
        )
        self.weak_posterior = weak_posterior
        several = ("shared", "visual", "audio")
        self.latent_names: tuple[str, ...] = {"none": (), "single": ("shared",)}.get(
            latent_kind, several
        )
        self.likelihood = BernoulliLikelihood()
        if latent_kind == "agreement" and weak_posterior == "pseudo":
            raise UserError(
                "model.latent.weak_posterior: pseudo needs two decoders: use labelled with kind: agreement"
            )
        widths = channels_of(backbone)
        neck_and_decoder = (
            FeatureNeck(widths, channels, neck),
            SegmentationDecoder(channels, num_classes),
        )
        self.agreement: AgreementBranch | None = None
        self.prior_branch: Branch | None = None
        self.posterior_branch: Branch | None = None
        if fusion == "regions":
            if latent_kind != "agreement" or num_classes > 1:
                raise UserError(
                    "model.fusion.kind: regions needs model.latent.kind: agreement and one class of masks"
                )
            answer: RegionAnswer | FusedAnswer = RegionAnswer(
                *neck_and_decoder,
                widths=widths,
                channels=channels,
                latent_dim=latent_dim,
                classifier=classifier,
                table=table,
                second_look=second_look,
                bare_names=bare_names,
            )
        else:
            heard = latent_dim if latent_kind == "agreement" else self.audio_dim
            blocks = nn.ModuleList(build_fusion(fusion, channels, heard) for _ in widths)
            if latent_kind == "agreement":
                answer = FusedAnswer(
                    *neck_and_decoder, blocks, channels=channels, latent_dim=latent_dim
                )
            else:
                self.fusion = blocks
        if latent_kind == "agreement":
            self.agreement = AgreementBranch(
                answer, channels=channels, audio_dim=self.audio_dim, latent_dim=latent_dim
            )
            return

        def branch(
            role: Literal["prior", "posterior"], neck: FeatureNeck, decoder: SegmentationDecoder
        ) -> Branch:
            if latent_kind == "none":
                return Branch(neck, decoder)
            factorized = latent_kind == "factorized"
            encoder = FactorizedLatentEncoder(
                role,
                image_size=image_size,
                audio_dim=self.audio_dim,
                latent_dim=latent_dim,
                factorized=factorized,
            )
            fusion = LatentFusion(latent_fusion if factorized else "poe", latent_dim)
            return Branch(neck, decoder, encoder, fusion, LatentInjection(channels, latent_dim))

        self.prior_branch = branch("prior", *neck_and_decoder)
        if latent_kind != "none":
            # Neck and decoder of the two branches start equal, so that only the latents distinguish them.
            self.posterior_branch = branch("posterior", *copy.deepcopy(neck_and_decoder))

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | FrameSubset | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Segment clips; with masks, run the posterior branch as well. See `Segmenter.forward`."""
        clips = self.condition(frames, audio, features)
        posterior: BranchOutput | None = None
        informed: FrameSubset | None = None
        if self.agreement is not None:
            if masks is not None:
                masks, informed = self._shown_masks(masks, supervised, None)
            prior, posterior = self.agreement(clips, latents, masks, informed)
        else:
            assert self.prior_branch is not None
            prior = self.prior_branch(clips, self.fusion, latents)
            if masks is not None and self.posterior_branch is not None:
                masks, informed = self._shown_masks(masks, supervised, prior.logits)
                posterior = self.posterior_branch(
                    clips, self.fusion, latents, masks, informed, prior.latents
                )
        return SegmentationOutput(
            logits=prior.logits,
            posterior_logits=None if posterior is None else posterior.logits,
            prior=prior.latents,
            posterior=None if posterior is None else posterior.latents,
            informed=None if posterior is None or informed is None else informed.mask,
            prior_branch=prior,
            posterior_branch=posterior,
        )

    def condition(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        features: Sequence[Tensor] | None = None,
    ) -> ClipInputs:
        """Clips as the latents are conditioned on them, with the backbone's maps; arguments as `Segmenter.forward`."""
        maps = self._pyramid(frames, features)
        if self.agreement is None:
            return ClipInputs(frames, audio, maps)
        regions = self._frozen_regions
        if regions and regions.feature_channels == tuple(each.shape[1] for each in maps):
            return ClipInputs(frames, audio, maps, regions.of_features(maps))
        kept = (
            features
            if isinstance(features, ExtractedMaps)
            and not (self.training or torch.is_grad_enabled())
            else None
        )
        picture = (
            kept.picture
            if kept is not None and kept.picture is not None
            else self._look(maps, frames.flatten(0, 1))
        )
        if kept is not None:
            kept.picture = picture
        return ClipInputs(frames, audio, maps, picture)

    @property
    def _frozen_regions(self) -> RegionAnswer | None:
        """The part that sees regions, which needs no sound, if it is not being trained."""
        answer = None if self.agreement is None else self.agreement.answer
        return answer if isinstance(answer, RegionAnswer) and answer.sight_is_frozen else None

    @property
    def frozen_parts(self) -> nn.ModuleList:
        """The backbone, and the part that sees regions where it is frozen too."""
        regions = self._frozen_regions
        return nn.ModuleList([self.backbone] if regions is None else [self.backbone, regions])

    @property
    def frozen_channels(self) -> tuple[int, ...]:
        """Of the backbone's maps, or of the regions."""
        regions = self._frozen_regions
        return super().frozen_channels if regions is None else regions.feature_channels

    @property
    def frozen_form(self) -> str:
        """Whether regions are named, and on a second look."""
        regions = self._frozen_regions
        if regions is None:
            return ""
        named = "" if regions.names_are_frozen else "without names"
        return ", ".join(filter(None, ["second look" if regions.second_look else "", named]))

    def frozen_features(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """The backbone's maps, or the regions where ``train.frozen_parts`` has all that sees them."""
        maps, regions = super().frozen_features(frames), self._frozen_regions
        return (
            maps
            if regions is None
            else regions.to_features(regions.see(maps, partial(self._look_again, frames)))
        )

    def _look(self, maps: Sequence[Tensor], frames: Float[Tensor, "n 3 h w"]) -> Picture:
        """What the decoder of the agreement form makes of the frames, whose maps are given."""
        assert self.agreement is not None
        answer = self.agreement.answer
        if isinstance(answer, RegionAnswer):
            return answer.look(maps, partial(self._look_again, frames))
        return answer.look(maps)

    def _look_again(
        self, frames: Float[Tensor, "n 3 h w"], shown: Float[Tensor, "n 1 h w"]
    ) -> Float[Tensor, "n c h2 w2"]:
        """The coarsest map of frames of which only a share of each pixel is shown; 0 is their mean colour."""
        # outlines are learned from masks, not from the names they lead to
        return self.extract_features((frames * shown.detach()).unsqueeze(1))[-1].flatten(0, 1)

    def prior_latents(self, condition: ClipInputs) -> LatentSet:
        """p(c, s_v, s_a | frames, audio) of the N frames.

        Raises:
            UserError: If the model has no latents.
        """
        if self.agreement is not None:
            return self.agreement.prior_latents(condition)
        return self._existing(
            None if self.prior_branch is None else self.prior_branch.encode(condition)
        )

    def posterior_latents(self, y: Float[Tensor, "n 1 h w"], condition: ClipInputs) -> LatentSet:
        """q(c, s_v, s_a | frames, audio, masks), each of the N frames shown its mask."""
        masks = rearrange(y, "(b t) c h w -> b t c h w", b=len(condition.audio))
        if self.agreement is not None:
            return self.agreement.posterior_latents(condition, masks)
        side = self.posterior_branch
        return self._existing(None if side is None else side.encode(condition, masks))

    def decode_latents(
        self, z: Mapping[str, Float[Tensor, "n _"]], condition: ClipInputs
    ) -> Float[Tensor, "n 1 h w"]:
        """Logits of the masks under given values of the latents, by the decoder that the bound trains."""
        return foreground_logits(self._decoded(self.posterior_branch, z, condition).flatten(0, 1))

    def answer(
        self, z: Mapping[str, Float[Tensor, "n _"]], condition: ClipInputs
    ) -> Float[Tensor, "b t k h w"]:
        """Logits under given values of the latents, by the branch that answers at test time."""
        return self._decoded(self.prior_branch, z, condition)

    def _decoded(self, branch: Branch | None, z: Mapping[str, Tensor], clips: ClipInputs) -> Tensor:
        if self.agreement is not None:
            return self.agreement.decode(clips, LatentSamples(**z)).logits
        if branch is None or branch.latent_fusion is None:
            raise UserError(_NO_LATENTS)
        return branch.decode(clips, self.fusion, branch.latent_fusion.of_points(z)).logits

    @staticmethod
    def _existing(latents: LatentSet | None) -> LatentSet:
        if latents is None:
            raise UserError(_NO_LATENTS)
        return latents

    def _shown_masks(
        self, masks: Tensor, supervised: Tensor | FrameSubset | None, prior_logits: Tensor | None
    ) -> tuple[Tensor, FrameSubset]:
        """The masks (B, T, 1, H, W) that the posterior sees, and which of the N frames it sees one of."""
        everywhere = FrameSubset.all_of(masks[:, :, 0, 0, 0])
        known = everywhere if supervised is None else as_subset(supervised)
        if self.weak_posterior == "labelled":
            return masks, known
        if self.weak_posterior == "repeat_first" or prior_logits is None:
            stand_in = masks[:, :1]
        else:
            stand_in = (foreground_logits(prior_logits.detach()) > 0).float()
        marked = rearrange(known.mask, "(b t) -> b t 1 1 1", b=len(masks))
        return torch.where(marked, masks, stand_in), everywhere

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        backbone: nn.Module,
        audio_encoder: nn.Module | None,
        **arguments: Any,
    ) -> Segmenter:
        """Build the network that a configuration describes around its two encoders; see `Segmenter.from_config`."""
        return super().from_config(
            config,
            backbone,
            audio_encoder,
            neck=config.neck,
            fusion=config.fusion.kind,
            latent_kind=config.latent.kind,
            latent_fusion=config.latent.fusion,
            latent_dim=config.latent.dim,
            weak_posterior=config.latent.weak_posterior,
            second_look=config.fusion.kind == "regions" and config.fusion.second_look,
            bare_names=config.fusion.bare_names,
            **_names(config, arguments),
            **arguments,
        )


def _names(config: ModelConfig, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The classifier and the table that ``model.fusion`` asks for."""
    fusion, visual = config.fusion, config.visual
    if fusion.kind != "regions" or not fusion.classifier:
        return {}
    classifier = DenseClassifier(
        visual.name, weights=visual.weights, image_size=arguments.get("image_size", 224)
    )
    if fusion.table is None:
        return {"classifier": classifier}
    return {
        "classifier": classifier,
        "table": code_table(fusion.table, config.latent.dim, classifier.classes),
    }
