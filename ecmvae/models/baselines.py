"""AVSBench's baseline: audio and visual maps are fused by four TPAVI blocks; there are no latents.

Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042. The layers, their order and their widths follow
the authors' repository (OpenNLPLab/AVSBench, ``Pred_endecoder``), so that its checkpoints can be loaded; the
decoder is the fusion decoder of RefineNet and MiDaS (arXiv 1611.06612, 1907.01341).
"""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.config import ModelConfig
from ecmvae.models.base import Segmenter
from ecmvae.models.decoder import FeatureNeck, coarse_to_fine
from ecmvae.models.fusion import fuse_scales
from ecmvae.models.latents import LatentMode
from ecmvae.models.output import BranchOutput, SegmentationOutput
from ecmvae.models.tpavi import AlignedTPAVI
from ecmvae.visual.build import channels_of


class ResidualConvUnit(nn.Module):
    """r + conv(ReLU(conv(r))) with r = ReLU(x).

    The usual unit adds x. In AVSBench the first ReLU works in place, so r is what is added: trained weights rely on it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(N, C, h, w) -> the same shape."""
        x = x.relu()
        refined: Tensor = x + self.second(self.first(x).relu())
        return refined


class FeatureFusionBlock(nn.Module):
    """Add a refined skip map, refine the sum, double the resolution bilinearly, corners on corners."""

    def __init__(self, channels: int, *, has_skip: bool) -> None:
        super().__init__()
        self.skip = ResidualConvUnit(channels) if has_skip else None
        self.refine = ResidualConvUnit(channels)

    def forward(
        self, x: Float[Tensor, "n c h w"], skip: Float[Tensor, "n c h w"] | None = None
    ) -> Float[Tensor, "n c h2 w2"]:
        """(N, C, h, w), and the skip map of the same shape -> (N, C, 2h, 2w)."""
        if self.skip is not None and skip is not None:
            x = x + self.skip(skip)
        return F.interpolate(self.refine(x), scale_factor=2.0, mode="bilinear", align_corners=True)


class FeatureFusionDecoder(nn.Module):
    """Four fused maps to logits at the frame's size, from coarse to fine.

    Args:
        channels: C of the maps; 256 in AVSBench.
        num_classes: Channels of the logits; 1 for binary masks.
    """

    def __init__(self, channels: int, num_classes: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FeatureFusionBlock(channels, has_skip=level > 0) for level in range(4))
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False),
            nn.Conv2d(channels // 2, channels // 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 8, num_classes, 1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "n k h w"]:
        """Four maps (N, C, H/s, W/s), finest first -> logits (N, classes, H, W)."""
        logits: Tensor = self.head(coarse_to_fine(self.blocks, maps))
        return logits


class TPAVIBaseline(Segmenter):
    """Backbone, dilated neck, TPAVI at four scales, fusion decoder.

    Its output has the parts of `ECMVAE`'s that do not depend on latents. Each TPAVI projects the audio itself.

    Args:
        backbone: Four maps at strides 4, 8, 16, 32.
        audio_encoder: Audio features to embeddings; None if embeddings are computed elsewhere.
        audio_dim: A, width of the embeddings; by default the audio encoder's, or VGGish's without one.
        image_size: Side of the square frames in pixels.
        channels: C, width of neck, fusion and decoder; 256 in AVSBench.
        num_classes: K, channels of the logits: 1 for binary masks, else classes of which 0 is the background.
        freeze_backbone: Keep the backbone fixed and in eval mode.
        freeze_audio: Keep the audio encoder fixed and in eval mode.
    """

    def __init__(
        self,
        backbone: nn.Module,
        audio_encoder: nn.Module | None = None,
        *,
        audio_dim: int | None = None,
        image_size: int = 224,
        channels: int = 256,
        num_classes: int = 1,
        freeze_backbone: bool = False,
        freeze_audio: bool = True,
    ) -> None:
        super().__init__(
            backbone,
            audio_encoder,
            audio_dim=audio_dim,
            image_size=image_size,
            num_classes=num_classes,
            freeze_backbone=freeze_backbone,
            freeze_audio=freeze_audio,
        )
        self.neck = FeatureNeck(channels_of(backbone), channels, "aspp_bias")
        for name, parameter in self.neck.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.01)
        self.fusion = nn.ModuleList(AlignedTPAVI(channels, self.audio_dim) for _ in channels_of(backbone))
        self.decoder = FeatureFusionDecoder(channels, num_classes)

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        backbone: nn.Module,
        audio_encoder: nn.Module | None,
        *,
        audio_dim: int | None,
        image_size: int,
    ) -> TPAVIBaseline:
        """Build the network that a configuration describes around its two encoders."""
        return cls(
            backbone,
            audio_encoder,
            audio_dim=audio_dim,
            image_size=image_size,
            channels=config.channels,
            num_classes=config.num_classes,
            freeze_backbone=config.visual.frozen,
            freeze_audio=config.audio.frozen,
        )

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Segment clips.

        Args:
            frames: (B, T, 3, H, W), normalised RGB.
            audio: (B, T, A) embeddings, see `encode_audio`.
            masks: Not used: there is no posterior.
            supervised: Not used.
            latents: Not used.
            features: What `extract_features(frames)` returned, if it was computed already.

        Raises:
            UserError: If frames have another size than the model was built for.
        """
        fused = fuse_scales(self.fusion, self.neck(self._pyramid(frames, features)), audio)
        # AVSBench's loss uses the maps after the decoder's first, in-place ReLU; the decoder starts with it anyway.
        maps = tuple(each.relu() for each in fused.maps)
        logits = rearrange(self.decoder(maps), "(b t) k h w -> b t k h w", b=frames.shape[0])
        branch = BranchOutput(logits, None, maps, fused.audio)
        return SegmentationOutput(logits=logits, prior_branch=branch)
