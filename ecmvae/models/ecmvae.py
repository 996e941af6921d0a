"""ECMVAE: a conditional multimodal VAE that segments the sounding objects in a video.

Mao et al., "Multimodal Variational Auto-encoder based Audio-Visual Segmentation", ICCV 2023, arXiv 2310.08303.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.config import ModelConfig
from ecmvae.models.base import Segmenter
from ecmvae.models.branch import Branch
from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder, foreground_logits
from ecmvae.models.fusion import FusionChoice, build_fusion
from ecmvae.models.latents import FactorizedLatentEncoder, LatentFusion, LatentInjection, LatentMode
from ecmvae.models.output import SegmentationOutput
from ecmvae.visual.build import channels_of


class ECMVAE(Segmenter):
    """The paper's figure: one backbone, and two branches of latents, fusion with the audio, and a decoder.

    The prior branch sees frames and audio. The posterior branch sees the masks as well and exists for training only.
    Both share the backbone and the fusion blocks.

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
        latent_kind: "factorized", "single" or "none".
        latent_fusion: "concat" or "poe".
        latent_dim: L.
        weak_posterior: What the posterior does with frames that have no mask, see `LatentConfig.weak_posterior`.
        freeze_backbone: See `Segmenter`.
        freeze_audio: See `Segmenter`.
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
        latent_kind: Literal["none", "single", "factorized"] = "factorized",
        latent_fusion: Literal["concat", "poe"] = "concat",
        latent_dim: int = 16,
        weak_posterior: Literal["labelled", "repeat_first", "pseudo"] = "labelled",
        freeze_backbone: bool = False,
        freeze_audio: bool = True,
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

        def branch(role: Literal["prior", "posterior"], neck: FeatureNeck, decoder: SegmentationDecoder) -> Branch:
            if latent_kind == "none":
                return Branch(neck, decoder)
            factorized = latent_kind == "factorized"
            encoder = FactorizedLatentEncoder(
                role, image_size=image_size, audio_dim=self.audio_dim, latent_dim=latent_dim, factorized=factorized
            )
            fusion = LatentFusion(latent_fusion if factorized else "poe", latent_dim)
            return Branch(neck, decoder, encoder, fusion, LatentInjection(channels, latent_dim))

        widths = channels_of(backbone)
        self.fusion = nn.ModuleList(build_fusion(fusion, channels, self.audio_dim) for _ in widths)
        neck_and_decoder = FeatureNeck(widths, channels, neck), SegmentationDecoder(channels, num_classes)
        self.prior_branch = branch("prior", *neck_and_decoder)
        self.posterior_branch: Branch | None = None
        if latent_kind != "none":
            # Neck and decoder of the two branches start equal, so that only the latents distinguish them.
            self.posterior_branch = branch("posterior", *copy.deepcopy(neck_and_decoder))

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Segment clips; with masks, run the posterior branch as well. See `Segmenter.forward`."""
        maps = self._pyramid(frames, features)
        prior = self.prior_branch(frames, maps, audio, self.fusion, latents)
        if masks is None or self.posterior_branch is None:
            return SegmentationOutput(logits=prior.logits, prior=prior.latents, prior_branch=prior)
        shown, informed = self._shown_masks(masks, supervised, prior.logits)
        posterior = self.posterior_branch(frames, maps, audio, self.fusion, latents, shown, informed, prior.latents)
        return SegmentationOutput(
            logits=prior.logits,
            posterior_logits=posterior.logits,
            prior=prior.latents,
            posterior=posterior.latents,
            informed=informed,
            prior_branch=prior,
            posterior_branch=posterior,
        )

    def _shown_masks(self, masks: Tensor, supervised: Tensor | None, prior_logits: Tensor) -> tuple[Tensor, Tensor]:
        """The masks (B, T, 1, H, W) that the posterior sees, and which of the N frames it sees one of."""
        known = torch.ones_like(masks[:, :, 0, 0, 0], dtype=torch.bool) if supervised is None else supervised
        if self.weak_posterior == "labelled":
            return masks, known.flatten()
        prediction = (foreground_logits(prior_logits.detach()) > 0).float()
        stand_in = masks[:, :1] if self.weak_posterior == "repeat_first" else prediction
        shown = torch.where(rearrange(known, "b t -> b t 1 1 1"), masks, stand_in)
        return shown, torch.ones_like(known).flatten()

    @classmethod
    def from_config(
        cls, config: ModelConfig, backbone: nn.Module, audio_encoder: nn.Module | None, **arguments: Any
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
            **arguments,
        )
