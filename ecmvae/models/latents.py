"""The latent block of ECMVAE: a shared code c and modality-specific codes s_a and s_v, each one per frame.

Mao et al., "Multimodal Variational Auto-encoder based Audio-Visual Segmentation", ICCV 2023, arXiv 2310.08303. The
prior sees a frame and its audio; the posterior sees the frame's mask as well. Both are the same class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import register_dataclass

from ecmvae.errors import UserError
from ecmvae.vae.encoders import ConvEncoder, GaussianHead
from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts
from ecmvae.vae.latents import LatentSet

LatentMode = Literal["sample", "mean"]

_VISUAL_WIDTHS = (16, 32, 64, 128, 128)
_JOINT_WIDTHS = (16, 32, 64, 64, 64)
_IMAGE_CODE = 32


@dataclass(frozen=True)
class LatentSamples:
    """Values of the latents of N frames, each (N, L), and their fusion by `LatentFusion`.

    Attributes:
        shared: c, from both modalities.
        visual: s_v, or None where the model has one joint latent.
        audio: s_a, or None likewise.
        fused_visual: z_v, or None in a form that does not fuse them.
        fused_audio: z_a, likewise.
    """

    shared: Tensor
    visual: Tensor | None = None
    audio: Tensor | None = None
    fused_visual: Tensor | None = None
    fused_audio: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> LatentSamples:
        """The values after `change`."""
        rows: dict[str, Any] = {
            name: None if part is None else change(part) for name, part in vars(self).items()
        }
        return LatentSamples(**rows)


register_dataclass(LatentSamples)


def draw(latents: LatentSet, mode: LatentMode) -> dict[str, Tensor]:
    """One reparameterised sample of each latent, or the means."""
    return latents.rsample() if mode == "sample" else latents.mode


class ImageEncoder(nn.Module):
    """An image, a mask or both, and perhaps the audio, to one Gaussian: five strided convolutions and a head.

    Args:
        in_channels: 3 (image), 1 (mask) or 4 (image and mask).
        image_size: Side of the square image.
        latent_dim: L.
        audio_dim: Width of the audio embedding that joins a code of the image of width 32; None: no audio.
    """

    def __init__(
        self, in_channels: int, image_size: int, latent_dim: int, audio_dim: int | None = None
    ) -> None:
        super().__init__()
        self.picture = ConvEncoder(
            in_channels, _VISUAL_WIDTHS if audio_dim is None else _JOINT_WIDTHS, image_size
        )
        width = self.picture.out_features
        if audio_dim is not None:
            self.code = nn.Linear(width, _IMAGE_CODE)
            width = audio_dim + _IMAGE_CODE
        self.head = GaussianHead(width, latent_dim)

    def forward(
        self, picture: Float[Tensor, "n c h w"], audio: Float[Tensor, "n a"] | None = None
    ) -> DiagonalGaussian:
        """(N, C, H, W), and (N, A) -> distribution over (N, L)."""
        features = self.picture(picture)
        if audio is not None:
            features = torch.cat([audio, self.code(features)], dim=1)
        distribution: DiagonalGaussian = self.head(features)
        return distribution


class FactorizedLatentEncoder(nn.Module):
    """The three latent encoders, as the prior p(c, s_v, s_a | x) or as the posterior q(c, s_v, s_a | x, y).

    Args:
        role: "prior" sees image and audio; "posterior" also sees the mask: concatenated to the image for c and s_v,
            through a separate encoder for s_a.
        image_size: Side of the square frames in pixels.
        audio_dim: Width A of the audio embedding.
        latent_dim: L.
        factorized: False: c alone, one joint latent.
    """

    def __init__(
        self,
        role: Literal["prior", "posterior"],
        *,
        image_size: int,
        audio_dim: int,
        latent_dim: int = 16,
        factorized: bool = True,
    ) -> None:
        super().__init__()
        self.role = role
        channels = 4 if role == "posterior" else 3
        self.shared = ImageEncoder(channels, image_size, latent_dim, audio_dim)
        self.visual: ImageEncoder | None = None
        self.audio: GaussianHead | ImageEncoder | None = None
        if factorized:
            self.visual = ImageEncoder(channels, image_size, latent_dim)
            self.audio = (
                ImageEncoder(1, image_size, latent_dim, audio_dim)
                if role == "posterior"
                else GaussianHead(audio_dim, latent_dim)
            )

    def forward(
        self,
        frames: Float[Tensor, "n 3 h w"],
        audio: Float[Tensor, "n a"],
        masks: Float[Tensor, "n 1 h w"] | None = None,
    ) -> LatentSet:
        """Encode N normalised frames; masks in {0, 1} are required by the posterior, not accepted by the prior.

        Raises:
            ValueError: If the masks do not fit the role.
        """
        if (masks is not None) != (self.role == "posterior"):
            raise ValueError(
                f"the {self.role} encoder {'needs' if masks is None else 'does not take'} masks"
            )
        picture = frames if masks is None else torch.cat([frames, masks], dim=1)
        shared = self.shared(picture, audio)
        if self.visual is None or self.audio is None:
            return LatentSet({"shared": shared})
        own = self.audio(audio) if masks is None else self.audio(masks, audio)
        return LatentSet({"shared": shared, "visual": self.visual(picture), "audio": own})


class LatentFusion(nn.Module):
    """Join the shared latent to each specific one.

    Args:
        kind: "concat": z_v = W [s_v, c], a linear map of the two samples, and z_a likewise. "poe": z_v is drawn from
            the product of the experts N(0, I), s_v and c (Wu & Goodman, arXiv 1802.05335), and z_a likewise.
        latent_dim: L.
    """

    def __init__(self, kind: Literal["concat", "poe"], latent_dim: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "concat":
            self.visual = nn.Linear(2 * latent_dim, latent_dim)
            self.audio = nn.Linear(2 * latent_dim, latent_dim)

    def forward(self, latents: LatentSet, mode: LatentMode) -> LatentSamples:
        """Draw the latents and fuse them."""
        points = draw(latents, mode)
        if self.kind == "concat" or len(points) == 1:
            return self.of_points(points)
        visual, audio = (
            draw(
                LatentSet(
                    {"z": product_of_experts([latents.gaussian(name), latents.gaussian("shared")])}
                ),
                mode,
            )["z"]
            for name in ("visual", "audio")
        )
        return LatentSamples(**points, fused_visual=visual, fused_audio=audio)

    def of_points(self, points: Mapping[str, Float[Tensor, "n l"]]) -> LatentSamples:
        """Fuse given values; a single joint latent is passed through.

        Raises:
            UserError: With "poe", which draws z_v and z_a from distributions and not from the values of c, s_v and s_a.
        """
        shared = points["shared"]
        if len(points) == 1:
            return LatentSamples(shared, fused_visual=shared, fused_audio=shared)
        if self.kind == "poe":
            raise UserError(
                "model.latent.fusion: poe has no map from values of the latents to masks: use concat"
            )
        visual, audio = points["visual"], points["audio"]
        return LatentSamples(
            **points,
            fused_visual=self.visual(torch.cat([visual, shared], dim=1)).to(visual.dtype),
            fused_audio=self.audio(torch.cat([audio, shared], dim=1)).to(audio.dtype),
        )


class LatentInjection(nn.Module):
    """Tile the fused latents over the coarsest map and mix them in by a 1x1 convolution."""

    def __init__(self, channels: int, latent_dim: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels + 2 * latent_dim, channels, 1)

    def forward(
        self, coarsest: Float[Tensor, "n c h w"], samples: LatentSamples
    ) -> Float[Tensor, "n c h w"]:
        """(N, C, H/32, W/32) -> the same shape."""
        assert samples.fused_visual is not None
        assert samples.fused_audio is not None
        latents = torch.cat([samples.fused_visual, samples.fused_audio], dim=1)
        tiles = repeat(latents, "n l -> n l h w", h=coarsest.shape[-2], w=coarsest.shape[-1])
        mixed: Tensor = self.mix(torch.cat([coarsest, tiles], dim=1))
        return mixed
