"""Fusion of sound and picture at one scale: TPAVI, and a per-second gate.

TPAVI: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042, in the form ECMVAE uses: both inputs
L2-normalised, no softmax. Written for any number of frames, in time linear in the number of pixels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio.vggish import EMBEDDING_DIM

FusionKind = Literal["tpavi", "gate", "none"]

_EPSILON = 1e-6


def unit_length(values: Tensor, dim: int) -> Tensor:
    """Divide by the L2 norm along `dim`: x / sqrt(sum x^2 + 1e-6)."""
    return values * torch.rsqrt(values.square().sum(dim, keepdim=True) + _EPSILON)


class TPAVI(nn.Module):
    """Temporal pixel-wise audio-visual interaction: each pixel attends to the sound of every second of its clip.

    With theta and g linear in the visual tokens and phi linear in the audio, all L = T*h*w positions attend to all
    others with weights theta^T phi / L. The weights have no softmax, so the product is reassociated:
    ``(theta^T phi) g^T = theta^T (phi g^T)``. As phi does not vary over a frame, phi g^T needs only the sum of g over
    each frame, and no L x L matrix is ever built.

    Args:
        channels: C of the visual map.
        audio_dim: A, width of the audio embedding; the paper's form has A = C.
        inner: Width of theta, phi and g; C / 2 in the paper.
    """

    def __init__(self, channels: int, audio_dim: int = EMBEDDING_DIM, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or max(channels // 2, 1)
        self.theta = nn.Linear(channels, inner)
        self.phi = nn.Linear(audio_dim, inner)
        self.g = nn.Linear(channels, inner)
        self.out = nn.Linear(inner, channels)
        self.out_norm = nn.BatchNorm1d(channels)
        self.norm = nn.LayerNorm(channels)
        # Zero, so that the block starts as the identity (followed by the LayerNorm).
        nn.init.zeros_(self.out_norm.weight)
        nn.init.zeros_(self.out_norm.bias)

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t a"]]:
        """Fuse one scale.

        Args:
            visual: (B, T, C, h, w).
            audio: (B, T, A).

        Returns:
            The fused map (B, T, C, h, w) and the L2-normalised audio (B, T, A).
        """
        tokens = unit_length(rearrange(visual, "b t c h w -> b t (h w) c"), dim=-1)  # (B, T, h*w, C)
        audio = unit_length(audio, dim=-1)
        fused = self.attend(tokens, audio)
        return rearrange(fused, "b t (h w) c -> b t c h w", h=visual.shape[-2]), audio

    def attend(
        self, tokens: Float[Tensor, "b t p c"], audio: Float[Tensor, "b t a"] | None
    ) -> Float[Tensor, "b t p c"]:
        """The block's arithmetic on P pixels a frame; without audio every pixel attends to all pixels of its clip."""
        batch, frames, pixels, _ = tokens.shape
        if audio is None:
            context = torch.einsum("btpi,btpj->bij", self.phi(tokens), self.g(tokens))
        else:
            # g is linear: its sum over a frame is g of the summed tokens, with the bias counted once a pixel.
            summed = tokens.sum(2) @ self.g.weight.T + pixels * self.g.bias  # (B, T, inner)
            context = torch.einsum("bti,btj->bij", self.phi(audio), summed)
        context = context / (frames * pixels)
        # out(theta(x) @ context) with the two right-hand matrices multiplied first: they are small.
        attended = self.theta(rearrange(tokens, "b t p c -> b (t p) c")) @ (context @ self.out.weight.T) + self.out.bias
        attended = self.out_norm(rearrange(attended, "b l c -> (b l) c"))
        fused: Tensor = self.norm(rearrange(attended, "(b t p) c -> b t p c", b=batch, t=frames) + tokens)
        return fused


class AlignedTPAVI(TPAVI):
    """TPAVI as AVSBench has it: the audio is first brought to the map's width, and nothing is L2-normalised.

    Args:
        channels: C of the visual map; 256 in AVSBench.
        audio_dim: A, width of the audio embedding.
        inner: Width of theta, phi and g; C / 2 in AVSBench.
    """

    def __init__(self, channels: int, audio_dim: int = EMBEDDING_DIM, inner: int | None = None) -> None:
        super().__init__(channels, channels, inner)
        self.align = nn.Linear(audio_dim, channels)

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c"]]:
        """Fuse one scale.

        Args:
            visual: (B, T, C, h, w).
            audio: (B, T, A).

        Returns:
            The fused map (B, T, C, h, w) and the aligned audio (B, T, C).
        """
        aligned = self.align(audio)
        fused = self.attend(rearrange(visual, "b t c h w -> b t (h w) c"), aligned)
        return rearrange(fused, "b t (h w) c -> b t c h w", h=visual.shape[-2]), aligned


class Match(NamedTuple):
    """How a gate compared the pixels of N frames with their sounds.

    Attributes:
        keys: (N, D, h, w), one a pixel, of length 1 along D.
        queries: (N, D), one a sound, of the gate's learned length: a dot product with a key is a score.
        scores: (N, 1, h, w), the dot products plus a bias: logits.
    """

    keys: Tensor
    queries: Tensor
    scores: Tensor


class AudioGate(nn.Module):
    """Each pixel is matched with the sound of its own second only.

    Not in the paper. TPAVI sums over all seconds of a clip, so in a still scene it can tell whether something sounds
    but hardly when; the gate can. The scaled cosine of the pixel's key and the sound's query is one match score, a
    logit, which opens or closes the pixel and is handed on as a channel. (Cosines with a learned scale, as CLIP has
    them, arXiv 2103.00020: plain dot products took four times as many clips to bind sounds to looks.)

    Args:
        channels: C of the visual map.
        audio_dim: A, width of the audio embedding.
        inner: Width D of key and query.
    """

    def __init__(self, channels: int, audio_dim: int = EMBEDDING_DIM, inner: int = 64) -> None:
        super().__init__()
        self.key = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, inner, 1)
        )
        self.query = nn.Sequential(
            nn.BatchNorm1d(audio_dim), nn.Linear(audio_dim, inner), nn.ReLU(), nn.Linear(inner, inner)
        )
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.out = nn.Sequential(nn.Conv2d(channels + 1, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t a"], Match]:
        """Fuse one scale: (B, T, C, h, w) and (B, T, A).

        Returns:
            The gated map, the L2-normalised audio, and how well pixels and sounds matched.
        """
        batch = visual.shape[0]
        flat = rearrange(visual, "b t c h w -> (b t) c h w")
        audio = unit_length(audio, dim=-1)
        queries = self.scale * unit_length(self.query(rearrange(audio, "b t a -> (b t) a")), dim=1)
        keys = unit_length(self.key(flat), dim=1)
        scores = torch.einsum("ndhw,nd->nhw", keys, queries.to(keys.dtype)).unsqueeze(1) + self.bias
        fused = flat + self.out(torch.cat([flat * scores.sigmoid(), scores], dim=1))
        return rearrange(fused, "(b t) c h w -> b t c h w", b=batch), audio, Match(keys, queries, scores)


class NoFusion(nn.Module):
    """Pass the picture through untouched: the ablation in which only the latents can hear."""

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t a"]]:
        """The visual map as it is, and the L2-normalised audio."""
        return visual, unit_length(audio, dim=-1)


def build_fusion(kind: FusionKind, channels: int, audio_dim: int = EMBEDDING_DIM) -> nn.Module:
    """One fusion block of the named kind."""
    if kind == "tpavi":
        return TPAVI(channels, audio_dim)
    return AudioGate(channels, audio_dim) if kind == "gate" else NoFusion()
