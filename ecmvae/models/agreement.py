"""Latents on which picture and sound must agree: ``model.latent.kind: agreement``.

Not the paper's form. There, c, s_v and s_a are vectors tiled over the coarsest map, beside a deterministic path that
explains the mask without them, and they end up unused (docs/latents.md). Here each latent is the only way for what it
stands for:

- c is what the model looks for. It takes the sound's place in the fusion with every scale, so that the sound reaches
  the pixels through c alone. Its prior hears the sound and sees the whole picture; its posterior looks at the features
  under the mask.
- s_v is a map at stride 8: what the picture leaves open about the place. Its prior has mean 0 and a spread that depends
  on the picture, its posterior sees the mask as well. Its first channel is evidence, added to the logits.
- s_a is what the sound holds besides, a vector mixed into the coarsest map.

Prior and posterior share neck, fusion and decoder: there is one p(y|x, z), as in a conditional VAE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.models.branch import ClipInputs
from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder
from ecmvae.models.fusion import fuse_scales
from ecmvae.models.latents import LatentMode, LatentSamples, draw
from ecmvae.models.output import BranchOutput
from ecmvae.models.tpavi import unit_length
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import LOGVAR_LIMIT, DiagonalGaussian
from ecmvae.vae.latents import LatentSet

_HIDDEN = 64
_MASK_GRID = 4
_START_LOGVAR = -5.0  # noise that sound and mask show through from the first step on
_START_EVIDENCE = 8.0  # logits for one unit of the first channel of s_v: a mask that is shown outweighs the rest
_PLACES = 1  # index of the scale that s_v lies on: stride 8
_OBJECTS = 2  # index of the scale whose features describe an object: stride 16


class AgreementEncoder(nn.Module):
    """Maps of one width, audio and, for the posterior, masks to c, s_v and s_a.

    Args:
        role: "prior" or "posterior".
        channels: C of the maps.
        audio_dim: A, width of the audio embeddings.
        latent_dim: L of c and s_a.
        map_dim: Channels D of s_v.
    """

    def __init__(
        self, role: Literal["prior", "posterior"], channels: int, audio_dim: int, latent_dim: int, map_dim: int
    ) -> None:
        super().__init__()
        shown = role == "posterior"
        self.sound = nn.BatchNorm1d(audio_dim)
        self.heard, self.seen = nn.Linear(audio_dim, _HIDDEN), nn.Linear(channels, _HIDDEN)
        self.shared = GaussianHead(_HIDDEN, latent_dim)
        self.places = nn.Sequential(
            nn.Conv2d(channels + shown, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.visual = GaussianHead(channels, map_dim) if shown else nn.Linear(channels, map_dim)
        self.audio = GaussianHead(audio_dim + shown * _MASK_GRID**2, latent_dim)
        for head in (self.audio, self.shared, *([self.visual] if shown else [])):
            nn.init.constant_(head.logvar.bias, _START_LOGVAR)  # type: ignore[union-attr, arg-type]
        if not shown:  # the whole picture says little about what sounds in it
            nn.init.zeros_(self.seen.weight)

    def forward(
        self,
        scales: Sequence[Tensor],
        audio: Float[Tensor, "n a"],
        masks: Float[Tensor, "n 1 h w"] | None = None,
    ) -> LatentSet:
        """Four maps (N, C, H/s, W/s), (N, A) and (N, 1, H, W) -> c and s_a over (N, L), s_v over (N, D*H/8*W/8)."""
        sound = self.sound(unit_length(audio, dim=-1))
        places, objects = scales[_PLACES], scales[_OBJECTS]
        if masks is None:
            looks, heard = scales[-1].mean((2, 3)), sound
            logvar = self.visual(rearrange(self.places(places), "n c h w -> n h w c"))
            logvar = logvar.clamp(-LOGVAR_LIMIT, LOGVAR_LIMIT).to(self.visual.weight.dtype)
            mean = torch.zeros_like(logvar)
        else:
            share = F.adaptive_avg_pool2d(masks, (objects.shape[2], objects.shape[3]))
            looks = (objects * share).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-6)
            heard = torch.cat([sound, F.adaptive_avg_pool2d(masks, _MASK_GRID).flatten(1)], dim=1)
            shown = 2.0 * F.adaptive_avg_pool2d(masks, (places.shape[2], places.shape[3])) - 1.0
            where: DiagonalGaussian = self.visual(
                rearrange(self.places(torch.cat([places, shown], dim=1)), "n c h w -> n h w c")
            )
            logvar = where.logvar
            mean = torch.cat(
                [where.mean[..., :1] + rearrange(shown, "n 1 h w -> n h w 1"), where.mean[..., 1:]], dim=-1
            )
        shared: DiagonalGaussian = self.shared((self.heard(sound) + self.seen(looks)).relu())
        return LatentSet(
            {
                "shared": shared,
                "visual": DiagonalGaussian(mean.flatten(1), logvar.flatten(1)),
                "audio": self.audio(heard),
            }
        )


class AgreementBranch(nn.Module):
    """Prior and posterior side of the conditional VAE around one neck and one decoder.

    Args:
        neck: Backbone maps to maps of C channels.
        decoder: Fused maps to logits.
        channels: C.
        audio_dim: A, width of the audio embeddings.
        latent_dim: L of c and s_a.
        map_dim: Channels D of s_v.
    """

    def __init__(
        self,
        neck: FeatureNeck,
        decoder: SegmentationDecoder,
        *,
        channels: int,
        audio_dim: int,
        latent_dim: int,
        map_dim: int = 4,
    ) -> None:
        super().__init__()
        self.neck, self.decoder = neck, decoder
        self.prior = AgreementEncoder("prior", channels, audio_dim, latent_dim, map_dim)
        self.posterior = AgreementEncoder("posterior", channels, audio_dim, latent_dim, map_dim)
        self.place = nn.Conv2d(map_dim, channels, 1)
        self.besides = nn.Conv2d(channels + latent_dim, channels, 1)
        self.evidence = nn.Parameter(torch.tensor(_START_EVIDENCE))

    def forward(
        self,
        clips: ClipInputs,
        fusion: nn.ModuleList,
        mode: LatentMode,
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        informed: Bool[Tensor, " n"] | None = None,
    ) -> tuple[BranchOutput, BranchOutput | None]:
        """Decode the prior's latents, and with masks the posterior's in the same pass; arguments as `Branch.forward`.

        One pass, because BatchNorm then has the same statistics in training as in use. Of the prior it decodes the
        means, which answer at test time; its spread is learned from the divergence alone.
        """
        scales, clip_count = self.neck(clips.maps), len(clips.audio)
        prior = self._encode(self.prior, scales, clips)
        if masks is None:
            return self._decode(scales, fusion, draw(prior, mode), clip_count, prior), None
        posterior = self._encode(self.posterior, scales, clips, masks, informed, prior)
        points = {name: torch.cat([prior.mode[name], drawn]) for name, drawn in draw(posterior, mode).items()}
        twice = [torch.cat([each, each]) for each in scales]
        both = self._decode(twice, fusion, points, 2 * clip_count)
        return both.half(0, prior), both.half(1, posterior)

    def encode(
        self,
        clips: ClipInputs,
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        informed: Bool[Tensor, " n"] | None = None,
        prior: LatentSet | None = None,
    ) -> LatentSet:
        """Latents of the N frames: of the prior, or with masks of the posterior; see `Branch.encode`."""
        encoder = self.prior if masks is None else self.posterior
        return self._encode(encoder, self.neck(clips.maps), clips, masks, informed, prior)

    def decode(self, clips: ClipInputs, fusion: nn.ModuleList, samples: LatentSamples) -> BranchOutput:
        """Decode given values of the latents."""
        points = {name: part for name, part in vars(samples).items() if part is not None}
        return self._decode(self.neck(clips.maps), fusion, points, len(clips.audio))

    def _encode(
        self,
        encoder: AgreementEncoder,
        scales: Sequence[Tensor],
        clips: ClipInputs,
        masks: Tensor | None = None,
        informed: Tensor | None = None,
        prior: LatentSet | None = None,
    ) -> LatentSet:
        audio = clips.audio.flatten(0, 1)
        if masks is None:
            heard: LatentSet = encoder(scales, audio)
            return heard
        shown = masks.flatten(0, 1)
        if informed is None or prior is None or bool(informed.all()):
            everywhere: LatentSet = encoder(scales, audio, shown)
            return everywhere
        seen: LatentSet = encoder([each[informed] for each in scales], audio[informed], shown[informed])
        return seen.where(informed, prior)

    def _decode(
        self,
        scales: Sequence[Tensor],
        fusion: nn.ModuleList,
        points: Mapping[str, Tensor],
        clip_count: int,
        latents: LatentSet | None = None,
    ) -> BranchOutput:
        finest, places, *middle, coarsest = scales
        size = places.shape[2:]
        where = rearrange(points["visual"], "n (h w d) -> n d h w", h=size[0], w=size[1])
        besides = repeat(points["audio"], "n l -> n l h w", h=coarsest.shape[2], w=coarsest.shape[3])
        placed = [
            finest,
            places + self.place(where.to(places.dtype)),
            *middle,
            self.besides(torch.cat([coarsest, besides.to(coarsest.dtype)], dim=1)),
        ]
        query = rearrange(points["shared"], "(b t) l -> b t l", b=clip_count)
        fused, used, matches = fuse_scales(fusion, placed, query)
        logits = self.decoder(fused)
        coarse = F.interpolate(where[:, :1], size=logits.shape[2:], mode="bilinear", align_corners=False)
        evidence = self.evidence * coarse
        if logits.shape[1] > 1:  # against the background, whose logit is the first
            evidence = torch.cat([-evidence, evidence.new_zeros(1).expand_as(logits[:, 1:])], dim=1)
        logits = logits + evidence
        logits = rearrange(logits, "(b t) k h w -> b t k h w", b=clip_count)
        return BranchOutput(logits, LatentSamples(**points), fused, used, matches, latents)
