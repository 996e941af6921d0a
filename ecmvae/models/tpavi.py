"""TPAVI: each pixel attends to the audio of every second of its clip.

Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042, in the form ECMVAE uses: both inputs are
L2-normalised, and there is no softmax. It takes any number of frames, in time linear in the number of pixels.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

_EPSILON = 1e-6


def unit_length(values: Tensor, dim: int) -> Tensor:
    """Divide by the L2 norm along `dim`: x / sqrt(sum x^2 + 1e-6)."""
    return values * torch.rsqrt(values.square().sum(dim, keepdim=True) + _EPSILON)


class TPAVI(nn.Module):
    """Temporal pixel-wise audio-visual interaction.

    With theta and g linear in the visual tokens and phi linear in the audio, all L = T*h*w positions attend to all
    others with weights theta^T phi / L. The weights have no softmax, so the product is reassociated:
    ``(theta^T phi) g^T = theta^T (phi g^T)``. As phi does not vary over a frame, phi g^T needs only the sum of g over
    each frame, and no L x L matrix is ever built.

    Args:
        channels: C of the visual map.
        audio_dim: A, width of the audio embedding; the paper's form has A = C.
        inner: Width of theta, phi and g; C / 2 in the paper.
    """

    def __init__(self, channels: int, audio_dim: int, inner: int | None = None) -> None:
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
        """The fused map and the L2-normalised audio."""
        # (B, T, h*w, C)
        tokens = unit_length(rearrange(visual, "b t c h w -> b t (h w) c"), dim=-1)
        audio = unit_length(audio, dim=-1)
        fused = self.attend(tokens, audio)
        return rearrange(fused, "b t (h w) c -> b t c h w", h=visual.shape[-2]), audio

    def attend(
        self, tokens: Float[Tensor, "b t p c"], audio: Float[Tensor, "b t a"] | None
    ) -> Float[Tensor, "b t p c"]:
        """The attention over P pixels a frame; without audio every pixel attends to all pixels of its clip."""
        batch, frames, pixels, _ = tokens.shape
        if audio is None:
            context = torch.einsum("btpi,btpj->bij", self.phi(tokens), self.g(tokens))
        else:
            # g is linear: its sum over a frame is g of the summed tokens, with the bias counted once per pixel.
            summed = tokens.sum(2) @ self.g.weight.T + pixels * self.g.bias  # (B, T, inner)
            context = torch.einsum("bti,btj->bij", self.phi(audio), summed)
        context = context / (frames * pixels)
        # out(theta(x) @ context) with the two right-hand matrices multiplied first: they are small.
        attended = (
            self.theta(rearrange(tokens, "b t p c -> b (t p) c")) @ (context @ self.out.weight.T)
            + self.out.bias
        )
        attended = self.out_norm(rearrange(attended, "b l c -> (b l) c"))
        fused: Tensor = self.norm(
            rearrange(attended, "(b t p) c -> b t p c", b=batch, t=frames) + tokens
        )
        return fused


class AlignedTPAVI(TPAVI):
    """TPAVI as AVSBench uses it: the audio is first brought to the map's width, and nothing is L2-normalised.

    Args:
        channels: C of the visual map.
        audio_dim: A, width of the audio embedding.
        inner: Width of theta, phi and g; C / 2 by default.
        window: Frames that attend to each other; a longer clip is cut into pieces of so many. None = the whole clip.
    """

    def __init__(
        self, channels: int, audio_dim: int, inner: int | None = None, window: int | None = None
    ) -> None:
        super().__init__(channels, channels, inner)
        self.align = nn.Linear(audio_dim, channels)
        self.window = window

    def forward(
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c"]]:
        """The fused map and the aligned audio."""
        aligned = self.align(audio)
        tokens = rearrange(visual, "b t c h w -> b t (h w) c")
        frames = tokens.shape[1]
        size = min(self.window or frames, frames)
        whole = frames // size * size
        pieces = [
            rearrange(each[:, :whole], "b (n t) ... -> (b n) t ...", t=size)
            for each in (tokens, aligned)
        ]
        fused = rearrange(self.attend(*pieces), "(b n) t p c -> b (n t) p c", b=tokens.shape[0])
        if whole < frames:  # a last, shorter piece
            fused = torch.cat([fused, self.attend(tokens[:, whole:], aligned[:, whole:])], dim=1)
        return rearrange(fused, "b t (h w) c -> b t c h w", h=visual.shape[-2]), aligned
