"""Fusion of audio and visual maps at one scale.

A fusion block is a module built by ``(channels, audio_dim)`` that takes a visual map (B, T, C, h, w) and audio
embeddings (B, T, A), and returns the fused map (B, T, C, h, w), the audio as it was used (B, T, A), and, where it
compares pixels with audio, a `Match` for the matching loss. One block is built for each of the four scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.models.tpavi import unit_length
from ecmvae.registry import Registry

FusionChoice = str | Callable[[int, int], nn.Module]
"""A registered name, an import path, or a class or function ``(channels, audio_dim) -> nn.Module``."""

FUSIONS: Registry[Callable[[int, int], nn.Module]] = Registry(
    "fusion",
    {
        "tpavi": "ecmvae.models.tpavi:TPAVI",
        "gate": "ecmvae.models.fusion:AudioGate",
        "none": "ecmvae.models.fusion:NoFusion",
    },
)
"""Fusion blocks by name."""


def build_fusion(choice: FusionChoice, channels: int, audio_dim: int) -> nn.Module:
    """Build the fusion block of one scale, for maps of C channels and audio embeddings of width A.

    Raises:
        UserError: For an unknown name, listing the right ones, or an object that does not build a module.
    """
    build = FUSIONS.get(choice)
    if isinstance(build, nn.Module) or not callable(build):
        raise UserError(
            f"fusion must be a name or a class (channels, audio_dim) -> nn.Module, got {choice!r:.80}"
        )
    block = build(channels, audio_dim)
    if not isinstance(block, nn.Module):
        raise UserError(f"the fusion {choice} built a {type(block).__name__}, not an nn.Module")
    return block


class Match(NamedTuple):
    """How a fusion block compared the pixels of N frames with their audio.

    Attributes:
        keys: (N, D, h, w), one per pixel, of length 1 along D.
        queries: (N, D), one per frame, of a learned length: a dot product with a key is a score.
        scores: (N, 1, h, w), the dot products plus a bias: logits.
    """

    keys: Tensor
    queries: Tensor
    scores: Tensor


class AudioGate(nn.Module):
    """Match each pixel with the audio of its own second only.

    Not in the paper. TPAVI sums over all seconds of a clip, so in a still scene it can tell whether something sounds
    but hardly when; the gate can. The scaled cosine of the pixel's key and the audio's query is a match score, a logit,
    which scales the pixel and is appended as a channel. (Cosines with a learned scale, as in CLIP, arXiv 2103.00020:
    plain dot products needed four times as many clips to associate sounds with appearances.)

    Args:
        channels: C of the visual map.
        audio_dim: A, width of the audio embedding.
        inner: Width D of key and query.
    """

    def __init__(self, channels: int, audio_dim: int, inner: int = 64) -> None:
        super().__init__()
        self.key = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 1),
        )
        self.query = nn.Sequential(
            nn.BatchNorm1d(audio_dim),
            nn.Linear(audio_dim, inner),
            nn.ReLU(),
            nn.Linear(inner, inner),
        )
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.out = nn.Sequential(
            nn.Conv2d(channels + 1, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t a"], Match]:
        """The gated map, the L2-normalised audio, and how well pixels and audio match."""
        batch = visual.shape[0]
        flat = rearrange(visual, "b t c h w -> (b t) c h w")
        audio = unit_length(audio, dim=-1)
        queries = self.scale * unit_length(self.query(rearrange(audio, "b t a -> (b t) a")), dim=1)
        keys = unit_length(self.key(flat), dim=1)
        scores = torch.einsum("ndhw,nd->nhw", keys, queries.to(keys.dtype)).unsqueeze(1) + self.bias
        fused = flat + self.out(torch.cat([flat * scores.sigmoid(), scores], dim=1))
        return (
            rearrange(fused, "(b t) c h w -> b t c h w", b=batch),
            audio,
            Match(keys, queries, scores),
        )


class NoFusion(nn.Module):
    """Leave the visual map as it is: the ablation in which only the latents receive the audio."""

    def __init__(self, channels: int, audio_dim: int) -> None:
        super().__init__()

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t a"]]:
        """The visual map as it is, and the L2-normalised audio."""
        return visual, unit_length(audio, dim=-1)


def fuse_scales(
    blocks: nn.ModuleList, maps: Sequence[Tensor], audio: Float[Tensor, "b t a"]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Match, ...]]:
    """Run one fusion block per scale on maps (N, C, h, w), finest first.

    Returns:
        The fused maps, the audio (N, A) as each block used it, and the matches of the blocks that compare the two.
    """
    fused, used, matches = [], [], []
    for block, each in zip(blocks, maps, strict=True):
        clip_map, clip_audio, *match = block(
            rearrange(each, "(b t) c h w -> b t c h w", b=audio.shape[0]), audio
        )
        fused.append(clip_map.flatten(0, 1))
        used.append(clip_audio.flatten(0, 1))
        matches += match
    return tuple(fused), tuple(used), tuple(matches)
