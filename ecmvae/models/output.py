"""What a segmentation model returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ecmvae.models.fusion import Match
from ecmvae.models.latents import LatentSamples
from ecmvae.vae.latents import LatentSet


@dataclass(frozen=True)
class BranchOutput:
    """Intermediate results of the prior or the posterior branch.

    Attributes:
        logits: (B, T, K, H, W), K = 1 or the number of classes.
        samples: The latents that were drawn; None without latents.
        fused: Four fused maps (N, C, h, w), finest first.
        audio: The audio that the fusion at each scale returned, four times (N, A), with A = C where they are compared.
        matches: How the gates of the four scales compared pixels and sounds; empty without gates.
        latents: Distributions of the latents of the N frames; None without latents.
    """

    logits: Tensor
    samples: LatentSamples | None
    fused: tuple[Tensor, ...]
    audio: tuple[Tensor, ...]
    matches: tuple[Match, ...] = ()
    latents: LatentSet | None = None


@dataclass(frozen=True, kw_only=True)
class SegmentationOutput:
    """Result of `Segmenter.forward`; the posterior parts are set exactly when masks were given to a model with latents.

    Attributes:
        logits: (B, T, K, H, W) of the prior branch, the one used at test time; K = 1 or the number of classes.
        posterior_logits: (B, T, K, H, W) of the posterior branch.
        prior: Latent distributions of the N frames; None when the model has no latents.
        posterior: The same of the posterior.
        informed: (N,) bool, frames whose posterior saw a mask; at the others it equals the prior.
        prior_branch: Intermediate results of the prior branch, for the losses.
        posterior_branch: The same of the posterior branch.
    """

    logits: Tensor
    posterior_logits: Tensor | None = None
    prior: LatentSet | None = None
    posterior: LatentSet | None = None
    informed: Tensor | None = None
    prior_branch: BranchOutput
    posterior_branch: BranchOutput | None = None
