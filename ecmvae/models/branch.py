"""One branch of ECMVAE's figure: latents, fusion with the audio, decoder."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder
from ecmvae.models.fusion import fuse_scales
from ecmvae.models.latents import FactorizedLatentEncoder, FactorizedLatents, LatentFusion, LatentInjection, LatentMode
from ecmvae.models.output import BranchOutput


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
        frames: Float[Tensor, "b t 3 h w"],
        maps: Sequence[Tensor],
        audio: Float[Tensor, "b t a"],
        fusion: nn.ModuleList,
        mode: LatentMode,
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        informed: Bool[Tensor, " n"] | None = None,
        prior: FactorizedLatents | None = None,
    ) -> BranchOutput:
        """Latents into the coarsest map of the neck -> fusion with the audio at each scale -> decoder.

        Args:
            frames: (B, T, 3, H, W).
            maps: The backbone's, (N, C_i, H/s, W/s), finest first.
            audio: (B, T, A).
            fusion: The blocks that both branches share.
            mode: "sample" or "mean" of the latents.
            masks: (B, T, 1, H, W), for the posterior.
            informed: (N,), which frames have a mask; the latents of the others are those of `prior`. None = all.
            prior: Latents of the prior branch.
        """
        distributions = self._encode(frames, audio, masks, informed, prior)
        scales, samples = self.neck(maps), None
        if distributions is not None and self.latent_fusion is not None and self.injection is not None:
            samples = self.latent_fusion(distributions, mode)
            scales[-1] = self.injection(scales[-1], samples)
        fused, used, matches = fuse_scales(fusion, scales, audio)
        logits = rearrange(self.decoder(fused), "(b t) k h w -> b t k h w", b=audio.shape[0])
        return BranchOutput(logits, samples, fused, used, matches, distributions)

    def _encode(
        self,
        frames: Tensor,
        audio: Tensor,
        masks: Tensor | None,
        informed: Tensor | None,
        prior: FactorizedLatents | None,
    ) -> FactorizedLatents | None:
        """Latents of the N frames; of the posterior where a frame is `informed` by a mask, else the prior's."""
        if self.latent_encoder is None:
            return None
        inputs = [each.flatten(0, 1) for each in (frames, audio, masks) if each is not None]
        if informed is None or prior is None or bool(informed.all()):
            everywhere: FactorizedLatents = self.latent_encoder(*inputs)
            return everywhere
        seen: FactorizedLatents = self.latent_encoder(*(each[informed] for each in inputs))
        return seen.where(informed, prior)
