"""What a segmentation model returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.export import register_dataclass

from ecmvae.models.fusion import Match
from ecmvae.models.latents import LatentSamples
from ecmvae.vae.latents import LatentSet


@dataclass(frozen=True, eq=False)
class Picture:
    """What a decoder makes of the frames before it knows the latents.

    Attributes:
        scales: Of the neck, four maps (N, C, H/s, W/s), finest first.
    """

    scales: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Regions(Picture):
    """What the frames show, see `ecmvae.models.regions`.

    Attributes:
        outlines: (N, 1, H, W), logits that a pixel belongs to a thing.
        embeddings: (N, D, h, w) of the cells; two belong together with probability exp(-squared distance).
        names: (N, L + 1, h, w), log-probabilities of each cell's region over the codes of c, the last one "none".
    """

    outlines: Float[Tensor, "n 1 hh ww"]
    embeddings: Float[Tensor, "n d h w"]
    names: Float[Tensor, "n k h w"]


class ExtractedMaps(tuple[Tensor, ...]):
    """The backbone's maps of a batch, as `Segmenter.extract_features` returns them.

    Attributes:
        picture: What the decoder made of them, once it was asked without gradients and in eval mode: clips under
            several sounds, or several draws of the latents, are decoded once.
    """

    picture: Picture | None = None


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
        regions: What the frames show; None of a model that decides by pixels.
        sounding: (N, L), log-probabilities that each code of c sounds, likewise.
    """

    logits: Tensor
    samples: LatentSamples | None
    fused: tuple[Tensor, ...]
    audio: tuple[Tensor, ...]
    matches: tuple[Match, ...] = ()
    latents: LatentSet | None = None
    regions: Regions | None = None
    sounding: Tensor | None = None


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


for _part in (Picture, Regions, BranchOutput, SegmentationOutput):
    register_dataclass(_part)  # pytrees: `torch.export` takes models that return them
