"""ECMVAE: a conditional multimodal VAE that cuts the sounding objects out of a video.

Mao et al., "Multimodal Variational Auto-encoder based Audio-Visual Segmentation", ICCV 2023, arXiv 2310.08303.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.config import ModelConfig
from ecmvae.models.base import Segmenter
from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder, foreground_logits
from ecmvae.models.fusion import FusionKind, Match, build_fusion
from ecmvae.models.latents import (
    FactorizedLatentEncoder,
    FactorizedLatents,
    LatentFusion,
    LatentInjection,
    LatentMode,
)
from ecmvae.models.output import BranchOutput, SegmentationOutput
from ecmvae.visual.build import channels_of


class Branch(nn.Module):
    """One side of the conditional VAE, with weights of its own: neck, latents, decoder."""

    def __init__(
        self,
        role: Literal["prior", "posterior"],
        neck: FeatureNeck,
        decoder: SegmentationDecoder,
        *,
        channels: int,
        image_size: int,
        latent_kind: Literal["none", "single", "factorized"],
        latent_fusion: Literal["concat", "poe"],
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.neck = neck
        self.decoder = decoder
        self.latent_encoder: FactorizedLatentEncoder | None = None
        if latent_kind != "none":
            factorized = latent_kind == "factorized"
            self.latent_encoder = FactorizedLatentEncoder(
                role, image_size=image_size, latent_dim=latent_dim, factorized=factorized
            )
            self.latent_fusion = LatentFusion(latent_fusion if factorized else "poe", latent_dim)
            self.injection = LatentInjection(channels, latent_dim)

    def forward(
        self,
        maps: Sequence[Tensor],
        audio: Float[Tensor, "b t a"],
        latents: FactorizedLatents | None,
        mode: LatentMode,
        fusion: nn.ModuleList,
    ) -> BranchOutput:
        """Neck -> latents into the coarsest map -> fusion with the sound at each scale -> decoder."""
        batch = audio.shape[0]
        necks = self.neck(maps)
        samples = None
        if latents is not None:
            samples = self.latent_fusion(latents, mode)
            necks = [*necks[:-1], self.injection(necks[-1], samples)]
        fused: list[Tensor] = []
        matches: list[Match] = []
        sounds: list[Tensor] = []
        for block, each in zip(fusion, necks, strict=True):
            clip_map, heard, *match = block(rearrange(each, "(b t) c h w -> b t c h w", b=batch), audio)
            fused.append(rearrange(clip_map, "b t c h w -> (b t) c h w"))
            sounds.append(rearrange(heard, "b t a -> (b t) a"))
            matches += match
        logits = rearrange(self.decoder(fused), "(b t) k h w -> b t k h w", b=batch)
        return BranchOutput(logits, samples, tuple(fused), tuple(sounds), tuple(matches))


class ECMVAE(Segmenter):
    """The paper's figure: backbone, latent encoders, fusion with sound, decoders.

    The prior branch sees frames and sound. The posterior branch sees the masks too and exists for training only. Both
    share the backbone and the fusion blocks.

    Args:
        backbone: Four maps at strides 4, 8, 16, 32.
        audio_encoder: Log-mel patches to embeddings; None where embeddings are computed elsewhere.
        image_size: Side of the square frames in pixels; the latent encoders are built for it.
        channels: C, width of neck, fusion and decoder.
        neck: "basic" or "aspp".
        num_classes: K, channels of the logits: 1 for binary masks, else classes of which 0 is the background. The
            posterior is shown the binary mask either way: it learns where, not what.
        fusion: "tpavi", "gate" or "none".
        latent_kind: "factorized", "single" or "none".
        latent_fusion: "concat" or "poe".
        latent_dim: L.
        weak_posterior: What the posterior does with frames that have no mask, see `LatentConfig.weak_posterior`.
        freeze_backbone: Keep the backbone fixed and in eval mode.
        freeze_audio: Keep the audio encoder fixed and in eval mode.
    """

    def __init__(
        self,
        backbone: nn.Module,
        audio_encoder: nn.Module | None = None,
        *,
        image_size: int = 224,
        channels: int = 128,
        neck: Literal["basic", "aspp"] = "basic",
        num_classes: int = 1,
        fusion: FusionKind = "tpavi",
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
            image_size=image_size,
            num_classes=num_classes,
            freeze_backbone=freeze_backbone,
            freeze_audio=freeze_audio,
        )
        self.weak_posterior = weak_posterior
        self.fusion = nn.ModuleList(build_fusion(fusion, channels) for _ in channels_of(backbone))
        self.prior_branch = Branch(
            "prior",
            FeatureNeck(channels_of(backbone), channels, neck),
            SegmentationDecoder(channels, num_classes),
            channels=channels,
            image_size=image_size,
            latent_kind=latent_kind,
            latent_fusion=latent_fusion,
            latent_dim=latent_dim,
        )
        self.posterior_branch: Branch | None = None
        if latent_kind != "none":
            # Neck and decoder of the two branches start equal, so that only the latents tell them apart.
            self.posterior_branch = Branch(
                "posterior",
                copy.deepcopy(self.prior_branch.neck),
                copy.deepcopy(self.prior_branch.decoder),
                channels=channels,
                image_size=image_size,
                latent_kind=latent_kind,
                latent_fusion=latent_fusion,
                latent_dim=latent_dim,
            )

    @classmethod
    def from_config(
        cls, config: ModelConfig, backbone: nn.Module, audio_encoder: nn.Module | None, *, image_size: int
    ) -> ECMVAE:
        """Build the network that a configuration describes around its two encoders."""
        return cls(
            backbone,
            audio_encoder,
            image_size=image_size,
            channels=config.channels,
            num_classes=config.num_classes,
            neck=config.neck,
            fusion=config.fusion.kind,
            latent_kind=config.latent.kind,
            latent_fusion=config.latent.fusion,
            latent_dim=config.latent.dim,
            weak_posterior=config.latent.weak_posterior,
            freeze_backbone=config.visual.frozen,
            freeze_audio=config.audio.frozen,
        )

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Segment clips; with masks, run the posterior branch as well.

        Args:
            frames: (B, T, 3, H, W), ImageNet-normalised RGB.
            audio: (B, T, 128) embeddings, see `encode_audio`.
            masks: (B, T, 1, H, W) in {0, 1}; only supervised frames' masks are looked at.
            supervised: (B, T), which masks are known; None = all.
            latents: "sample" draws the latents, "mean" takes their means, in both branches.
            features: What `extract_features(frames)` returned, if it is at hand already.

        Raises:
            UserError: When frames have another size than the model was built for.
        """
        maps = self._pyramid(frames, features)
        flat_frames = rearrange(frames, "b t c h w -> (b t) c h w")
        flat_audio = rearrange(audio, "b t a -> (b t) a")
        encoder = self.prior_branch.latent_encoder
        prior = None if encoder is None else encoder(flat_frames, flat_audio)
        by_prior = self.prior_branch(maps, audio, prior, latents, self.fusion)
        if masks is None or self.posterior_branch is None or prior is None:
            return SegmentationOutput(logits=by_prior.logits, prior=prior, prior_branch=by_prior)
        posterior, informed = self._posterior(flat_frames, flat_audio, masks, supervised, prior, by_prior.logits)
        by_posterior = self.posterior_branch(maps, audio, posterior, latents, self.fusion)
        return SegmentationOutput(
            logits=by_prior.logits,
            posterior_logits=by_posterior.logits,
            prior=prior,
            posterior=posterior,
            informed=informed,
            prior_branch=by_prior,
            posterior_branch=by_posterior,
        )

    def _posterior(
        self,
        frames: Tensor,
        audio: Tensor,
        masks: Tensor,
        supervised: Tensor | None,
        prior: FactorizedLatents,
        prior_logits: Tensor,
    ) -> tuple[FactorizedLatents, Tensor]:
        """Posterior latents of all N frames, and which of them saw a mask."""
        assert self.posterior_branch is not None
        encoder = self.posterior_branch.latent_encoder
        assert encoder is not None
        known = torch.ones_like(masks[:, :, 0, 0, 0], dtype=torch.bool) if supervised is None else supervised
        shown = masks
        if self.weak_posterior != "labelled":
            guess = (foreground_logits(prior_logits.detach()) > 0).float()
            stand_in = masks[:, :1] if self.weak_posterior == "repeat_first" else guess
            shown = torch.where(rearrange(known, "b t -> b t 1 1 1"), masks, stand_in)
            known = torch.ones_like(known)
        informed = rearrange(known, "b t -> (b t)")
        flat_masks = rearrange(shown, "b t c h w -> (b t) c h w")
        if bool(informed.all()):
            return encoder(frames, audio, flat_masks), informed
        seen: FactorizedLatents = encoder(frames[informed], audio[informed], flat_masks[informed])
        return seen.where(informed, prior), informed
