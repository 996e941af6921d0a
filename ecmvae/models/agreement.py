"""Latents on which picture and sound must agree: ``model.latent.kind: agreement``.

Not the paper's form. There, c, s_v and s_a are vectors tiled over the coarsest map, beside a deterministic path that
explains the mask without them, and they end up unused (docs/latents.md). Here each latent is the only path for what it
represents:

- c replaces the audio embedding in the fusion at every scale, so the audio reaches the pixels through c and s_a alone.
  Its prior is computed from the audio, its posterior from the audio and the visual features under the mask.
- s_v is the error of the prior's answer, a smooth map e in [-1, 1]: the logits become (1 - |e|) logits + 20 e with a
  learned 20. Its prior has mean 0 and a spread that depends on the picture; its posterior has the true error as mean.
- s_a is a second code of the audio, mixed into the coarsest map; its posterior also sees the mask.

Prior and posterior share neck, fusion and decoder: there is one p(y|x, z), as in a conditional VAE.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ecmvae.models.branch import ClipInputs
from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder, foreground_logits
from ecmvae.models.fusion import fuse_scales
from ecmvae.models.latents import LatentMode, LatentSamples, draw
from ecmvae.models.output import BranchOutput, Picture, Regions
from ecmvae.models.regions import Answer, RegionAnswer
from ecmvae.models.tpavi import unit_length
from ecmvae.types import FrameSubset
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.gaussian import LOGVAR_LIMIT, DiagonalGaussian
from ecmvae.vae.latents import LatentSet

_CELLS = 16  # along a side of the grid on which s_v describes a map
_WAVES = 10  # lowest frequencies along a side that it keeps
_MASK_CELLS = 4  # along a side of the mask as the posterior of s_a sees it
_OBJECTS = 2  # index of the scale whose features describe an object: stride 16
_START_LOGVAR = -3.0  # noise that sound and mask show through from the first step on
_START_EVIDENCE = 20.0  # logit where the error is 1


class SmoothMap(nn.Module):
    """Maps with values in [-1, 1] as 100 coefficients: the lowest frequencies of the discrete cosine transform.

    A coefficient at frequency k = (k_y, k_x) is divided by 0.55 / sqrt(1 + (|k| / 4)^4), about the standard deviation
    that it has over masks of single objects, so that all are of order 1 (fitted to the masks of 500 frames of
    AVS-Collage, where these frequencies keep an IoU of .67 with the mask).
    """

    basis: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        frequency, cell = torch.arange(_WAVES).float(), torch.arange(_CELLS) + 0.5
        basis = torch.cos(torch.pi * frequency[:, None] * cell / _CELLS) * math.sqrt(2 / _CELLS)
        basis[0] /= math.sqrt(2)
        length_squared = frequency[:, None].square() + frequency.square()
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer(
            "scale", 0.55 / (1 + (length_squared / 16).square()).sqrt(), persistent=False
        )

    def analyse(self, maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n k"]:
        """Coefficients of maps of any size."""
        cells = F.adaptive_avg_pool2d(maps, _CELLS)
        return (
            torch.einsum("ku,nouv,lv->nkl", self.basis, cells, self.basis) / self.scale
        ).flatten(1)

    def compose(
        self, coefficients: Float[Tensor, "n k"], size: Sequence[int]
    ) -> Float[Tensor, "n 1 h w"]:
        """The maps that have these coefficients, interpolated to (H, W)."""
        scaled = rearrange(coefficients, "n (k l) -> n k l", k=_WAVES) * self.scale
        cells = torch.einsum("ku,nkl,lv->nuv", self.basis, scaled, self.basis)
        return F.interpolate(
            cells.unsqueeze(1), size=tuple(size), mode="bilinear", align_corners=False
        )


class AgreementEncoder(nn.Module):
    """Maps of one width, audio and, for the posterior, masks to c, s_v and s_a.

    Args:
        role: "prior" or "posterior".
        channels: C of the maps.
        audio_dim: A, width of the audio embeddings.
        latent_dim: L of c and s_a.
        described: Width of what the posterior of c sees of the pixels under the mask.
    """

    def __init__(
        self,
        role: Literal["prior", "posterior"],
        channels: int,
        audio_dim: int,
        latent_dim: int,
        described: int,
    ) -> None:
        super().__init__()
        shown = role == "posterior"
        self.sound = nn.BatchNorm1d(audio_dim)
        self.shared = GaussianHead(audio_dim + shown * described, latent_dim)
        self.audio = GaussianHead(audio_dim + shown * _MASK_CELLS**2, latent_dim)
        self.visual_logvar = nn.Linear(channels, _WAVES**2)
        self.error_gain = nn.Parameter(torch.ones(_WAVES**2)) if shown else None
        for head in (self.audio, self.shared):
            nn.init.constant_(head.logvar.bias, _START_LOGVAR)
        nn.init.zeros_(self.visual_logvar.weight)
        nn.init.constant_(self.visual_logvar.bias, _START_LOGVAR if shown else 0.0)

    def forward(
        self,
        coarsest: Float[Tensor, "n c h w"],
        audio: Float[Tensor, "n a"],
        masks: Float[Tensor, "n 1 hh ww"] | None = None,
        described: Float[Tensor, "n f"] | None = None,
        error: Float[Tensor, "n k"] | None = None,
    ) -> LatentSet:
        """A map (N, C, h, w) and (N, A) -> c and s_a over (N, L), s_v over (N, 100).

        Args:
            coarsest: Of the neck.
            audio: Embeddings.
            masks: Of the posterior: what it is shown.
            described: Of the posterior: the picture under the masks.
            error: Of the posterior: coefficients of what the prior's answer lacks, see `SmoothMap`.
        """
        sound = self.sound(unit_length(audio, dim=-1))
        dtype = self.visual_logvar.weight.dtype
        logvar = (
            self.visual_logvar(coarsest.mean((2, 3))).to(dtype).clamp(-LOGVAR_LIMIT, LOGVAR_LIMIT)
        )
        if masks is None or described is None or error is None or self.error_gain is None:
            source = besides = sound
            mean = torch.zeros_like(logvar)
        else:
            source = torch.cat([sound, described], dim=1)
            besides = torch.cat(
                [sound, F.adaptive_avg_pool2d(masks, _MASK_CELLS).flatten(1)], dim=1
            )
            mean = self.error_gain * error.to(dtype)
        visual = DiagonalGaussian(mean, logvar)
        return LatentSet(
            {"shared": self.shared(source), "visual": visual, "audio": self.audio(besides)}
        )


class FusedAnswer(nn.Module):
    """The decoder of the agreement form by pixels: c is fused with the picture at every scale, s_a mixed into one.

    Args:
        neck: Backbone maps to maps of C channels.
        decoder: Fused maps to logits.
        fusion: One block per scale, built for audio of width L.
        channels: C.
        latent_dim: L of c and s_a.
    """

    def __init__(
        self,
        neck: FeatureNeck,
        decoder: SegmentationDecoder,
        fusion: nn.ModuleList,
        *,
        channels: int,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.neck, self.decoder, self.fusion = neck, decoder, fusion
        self.besides = nn.Conv2d(channels + latent_dim, channels, 1)
        self.described = channels

    def look(self, maps: Sequence[Tensor]) -> Picture:
        """The backbone's four maps -> maps of C channels."""
        return Picture(self.neck(maps))

    def describe(self, picture: Picture, masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c"]:
        """The mean of the features under the masks."""
        objects = picture.scales[_OBJECTS]
        share = F.adaptive_avg_pool2d(masks, (objects.shape[2], objects.shape[3]))
        return (objects * share).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-6)

    def forward(
        self, picture: Picture, points: Mapping[str, Tensor], clip_count: int | torch.SymInt
    ) -> Answer:
        """Logits under values of the latents, of as many clips."""
        *finer, coarsest = picture.scales
        besides = repeat(
            points["audio"], "n l -> n l h w", h=coarsest.shape[2], w=coarsest.shape[3]
        )
        mixed = self.besides(torch.cat([coarsest, besides.to(coarsest.dtype)], dim=1))
        query = rearrange(points["shared"], "(b t) l -> b t l", b=clip_count)
        fused, used, matches = fuse_scales(self.fusion, [*finer, mixed], query)
        return Answer(self.decoder(fused), fused, used, matches)


class AgreementBranch(nn.Module):
    """Prior and posterior side of the conditional VAE around one decoder.

    Args:
        answer: `FusedAnswer`, or `ecmvae.models.regions.RegionAnswer`.
        channels: C.
        audio_dim: A, width of the audio embeddings.
        latent_dim: L of c and s_a.
    """

    def __init__(
        self, answer: FusedAnswer | RegionAnswer, *, channels: int, audio_dim: int, latent_dim: int
    ) -> None:
        super().__init__()
        self.answer = answer
        self.prior = AgreementEncoder("prior", channels, audio_dim, latent_dim, answer.described)
        self.posterior = AgreementEncoder(
            "posterior", channels, audio_dim, latent_dim, answer.described
        )
        self.error = SmoothMap()
        self.evidence = nn.Parameter(torch.tensor(_START_EVIDENCE))

    def forward(
        self,
        clips: ClipInputs,
        mode: LatentMode,
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        informed: FrameSubset | None = None,
    ) -> tuple[BranchOutput, BranchOutput | None]:
        """Decode the prior's latents, then with masks the posterior's; arguments as `Branch.forward`.

        Of the prior it decodes the means where there are masks: they are what answers at test time, and its spread is
        learned from the divergence alone.

        Returns:
            The answers of the prior and of the posterior; the matches are the prior's.
        """
        picture, count = self.look(clips), clips.audio.shape[0]
        prior = self._prior(picture, clips)
        if masks is None:
            return self._decode(picture, draw(prior, mode), count, prior), None
        first = self._decode(picture, prior.mode, count, prior)
        posterior = self._posterior(picture, clips, masks, informed, prior, first.logits)
        with _fixed_statistics(self.answer):  # those of the prior's pass are in use at test time
            second = self._decode(picture, draw(posterior, mode), count, posterior)
        return first, replace(second, matches=())

    def look(self, clips: ClipInputs) -> Picture:
        """What the decoder makes of the frames; computed unless the clips have it."""
        return self.answer.look(clips.maps) if clips.picture is None else clips.picture

    def prior_latents(self, clips: ClipInputs) -> LatentSet:
        """p(c, s_v, s_a | frames, audio) of the N frames."""
        return self._prior(self.look(clips), clips)

    def posterior_latents(self, clips: ClipInputs, masks: Float[Tensor, "b t 1 h w"]) -> LatentSet:
        """q(c, s_v, s_a | frames, audio, masks) of the N frames."""
        picture = self.look(clips)
        prior = self._prior(picture, clips)
        answer = self._decode(picture, prior.mode, clips.audio.shape[0]).logits
        return self._posterior(picture, clips, masks, None, prior, answer)

    def decode(self, clips: ClipInputs, samples: LatentSamples) -> BranchOutput:
        """Decode given values of the latents."""
        points = {name: part for name, part in vars(samples).items() if part is not None}
        return self._decode(self.look(clips), points, clips.audio.shape[0])

    def _prior(self, picture: Picture, clips: ClipInputs) -> LatentSet:
        latents: LatentSet = self.prior(picture.scales[-1], clips.audio.flatten(0, 1))
        return latents

    def _posterior(
        self,
        picture: Picture,
        clips: ClipInputs,
        masks: Tensor,
        shown: FrameSubset | None,
        prior: LatentSet,
        logits: Tensor,
    ) -> LatentSet:
        answer = foreground_logits(logits.detach().flatten(0, 1)).sigmoid()
        mask = masks.flatten(0, 1)
        error = self.error.analyse(mask - answer)
        described = self.answer.describe(picture, mask)
        inputs = [picture.scales[-1], clips.audio.flatten(0, 1), mask, described, error]
        if shown is None or shown.whole:
            everywhere: LatentSet = self.posterior(*inputs)
            return everywhere
        seen: LatentSet = self.posterior(*map(shown.take, inputs))
        return seen.placed_at(shown.rows, prior)

    def _decode(
        self,
        picture: Picture,
        points: Mapping[str, Tensor],
        clip_count: int | torch.SymInt,
        latents: LatentSet | None = None,
    ) -> BranchOutput:
        answer: Answer = self.answer(picture, points, clip_count)
        logits = answer.logits
        error = self.error.compose(points["visual"], logits.shape[2:]).clamp(-1, 1)
        evidence = self.evidence * error
        if logits.shape[1] > 1:  # against the background, whose logit is the first
            evidence = torch.cat([-evidence, evidence.new_zeros(1).expand_as(logits[:, 1:])], dim=1)
        corrected = (
            1 - error.abs()
        ) * logits + evidence  # what is wrong does not count, however sure it is
        logits = rearrange(corrected, "(b t) k h w -> b t k h w", b=clip_count)
        regions = picture if isinstance(picture, Regions) else None
        return BranchOutput(
            logits,
            LatentSamples(**points),
            answer.fused,
            answer.audio,
            answer.matches,
            latents,
            regions,
            answer.sounding,
        )


@contextmanager
def _fixed_statistics(*parts: nn.Module) -> Iterator[None]:
    """In this block the BatchNorms of `parts` leave their running statistics as they are."""
    norms = [each for part in parts for each in part.modules() if isinstance(each, _BatchNorm)]
    momenta = [each.momentum for each in norms]
    for each in norms:
        each.momentum = 0.0
    try:
        yield
    finally:
        for each, momentum in zip(norms, momenta, strict=True):
            each.momentum = momentum
