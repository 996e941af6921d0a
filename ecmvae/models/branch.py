"""One branch of ECMVAE's figure: latents, fusion with the audio, decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder
from ecmvae.models.fusion import fuse_scales
from ecmvae.models.latents import (
    FactorizedLatentEncoder,
    LatentFusion,
    LatentInjection,
    LatentMode,
    LatentSamples,
)
from ecmvae.models.output import BranchOutput, Picture
from ecmvae.types import FrameSubset
from ecmvae.vae.latents import LatentSet


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """What the masks of B clips are conditioned on; N = B*T frames.

    Attributes:
        frames: (B, T, 3, H, W), normalised RGB.
        audio: (B, T, A) embeddings.
        maps: The backbone's four maps (N, C_i, H/s, W/s), finest first.
        picture: What the agreement form makes of the maps before it knows the latents.
    """

    frames: Float[Tensor, "b t 3 h w"]
    audio: Float[Tensor, "b t a"]
    maps: Sequence[Tensor]
    picture: Picture | None = None


class Branch(nn.Module):
    """Prior or posterior side of the conditional VAE, with weights of its own.

    Args:
        neck: Backbone maps to maps of one width.
        decoder: Fused maps to logits.
        latent_encoder: Frames, audio and, for the posterior, masks to latents; None makes a branch without latents.
        latent_fusion: Joins the shared latent to the specific ones.
        injection: Mixes the latents into the coarsest map.
    """

    def __init__(
        self,
        neck: FeatureNeck,
        decoder: SegmentationDecoder,
        latent_encoder: FactorizedLatentEncoder | None = None,
        latent_fusion: LatentFusion | None = None,
        injection: LatentInjection | None = None,
    ) -> None:
        super().__init__()
        self.neck = neck
        self.decoder = decoder
        self.latent_encoder = latent_encoder
        self.latent_fusion = latent_fusion
        self.injection = injection

    def forward(
        self,
        clips: ClipInputs,
        fusion: nn.ModuleList,
        mode: LatentMode,
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        informed: FrameSubset | None = None,
        prior: LatentSet | None = None,
    ) -> BranchOutput:
        """Draw the latents and decode them.

        Args:
            clips: What is conditioned on.
            fusion: The blocks that both branches share.
            mode: "sample" or "mean" of the latents.
            masks: (B, T, 1, H, W), for the posterior.
            informed: The frames that have a mask; the latents of the others are those of `prior`. None = all.
            prior: Latents of the prior branch.
        """
        latents = self.encode(clips, masks, informed, prior)
        if latents is None or self.latent_fusion is None:
            return self.decode(clips, fusion)
        return self.decode(clips, fusion, self.latent_fusion(latents, mode), latents)

    def decode(
        self,
        clips: ClipInputs,
        fusion: nn.ModuleList,
        samples: LatentSamples | None = None,
        latents: LatentSet | None = None,
    ) -> BranchOutput:
        """Values of the latents into the coarsest map of the neck -> fusion with the audio at each scale -> decoder."""
        scales = self.neck(clips.maps)
        if samples is not None and self.injection is not None:
            scales[-1] = self.injection(scales[-1], samples)
        fused, used, matches = fuse_scales(fusion, scales, clips.audio)
        logits = rearrange(self.decoder(fused), "(b t) k h w -> b t k h w", b=clips.audio.shape[0])
        return BranchOutput(logits, samples, fused, used, matches, latents)

    def encode(
        self,
        clips: ClipInputs,
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        informed: FrameSubset | None = None,
        prior: LatentSet | None = None,
    ) -> LatentSet | None:
        """Latents of the N frames; of the posterior where a frame is `informed` by a mask, else the prior's."""
        if self.latent_encoder is None:
            return None
        inputs = [
            each.flatten(0, 1) for each in (clips.frames, clips.audio, masks) if each is not None
        ]
        if informed is None or prior is None or informed.whole:
            everywhere: LatentSet = self.latent_encoder(*inputs)
            return everywhere
        seen: LatentSet = self.latent_encoder(*map(informed.take, inputs))
        return seen.placed_at(informed.rows, prior)
