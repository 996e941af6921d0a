"""AVSBench's baseline: audio and visual maps are fused by four TPAVI blocks; there are no latents.

Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042. The layers, their order and their widths follow
the authors' repository (OpenNLPLab/AVSBench, ``Pred_endecoder``), so that its checkpoints can be loaded; the
decoder is the fusion decoder of RefineNet and MiDaS (arXiv 1611.06612, 1907.01341).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.config import ModelConfig
from ecmvae.models.base import Segmenter
from ecmvae.models.decoder import DecoderBlock, FeatureNeck, SegmentationDecoder
from ecmvae.models.fusion import fuse_scales
from ecmvae.models.latents import LatentMode
from ecmvae.models.output import BranchOutput, SegmentationOutput
from ecmvae.models.tpavi import AlignedTPAVI
from ecmvae.types import FrameSubset
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


class FeatureFusionBlock(DecoderBlock):
    """`DecoderBlock` with AVSBench's units and bilinear upsampling."""

    unit, align_corners = ResidualConvUnit, True


def _head(channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels // 2, 3, padding=1),
        nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False),
        nn.Conv2d(channels // 2, channels // 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // 8, num_classes, 1),
    )


class TPAVIBaseline(Segmenter):
    """Backbone, dilated neck, TPAVI at four scales, fusion decoder.

    Its output has the parts of `ECMVAE`'s that do not depend on latents. Each TPAVI projects the audio itself.

    Args:
        backbone: Four maps at strides 4, 8, 16, 32.
        audio_encoder: Audio features to embeddings; None if embeddings are computed elsewhere.
        channels: C, width of neck, fusion and decoder; 256 in AVSBench.
        num_classes: K, channels of the logits: 1 for binary masks, else classes of which 0 is the background.
        window: Frames that attend to each other, see `AlignedTPAVI`.
        **options: Of `Segmenter`: audio_dim, image_size, freeze_backbone, freeze_audio.
    """

    def __init__(
        self,
        backbone: nn.Module,
        audio_encoder: nn.Module | None = None,
        *,
        channels: int = 256,
        num_classes: int = 1,
        window: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, audio_encoder, num_classes=num_classes, **options)
        self.neck = FeatureNeck(channels_of(backbone), channels, "aspp_bias")
        for name, parameter in self.neck.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.01)
        self.fusion = nn.ModuleList(
            AlignedTPAVI(channels, self.audio_dim, window=window) for _ in channels_of(backbone)
        )
        self.decoder = SegmentationDecoder(channels, num_classes, FeatureFusionBlock, _head)

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        backbone: nn.Module,
        audio_encoder: nn.Module | None,
        **arguments: Any,
    ) -> Segmenter:
        """See `Segmenter.from_config`; it also has ``config.window``."""
        return super().from_config(
            config, backbone, audio_encoder, window=config.window, **arguments
        )

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"] | None = None,
        supervised: Bool[Tensor, "b t"] | FrameSubset | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Segment clips, see `Segmenter.forward`; there is no posterior, so masks and `latents` have no effect."""
        fused, used, _ = fuse_scales(self.fusion, self.neck(self._pyramid(frames, features)), audio)
        # AVSBench's loss uses the maps after the decoder's first, in-place ReLU; the decoder starts with it anyway.
        maps = tuple(each.relu() for each in fused)
        logits = rearrange(self.decoder(maps), "(b t) k h w -> b t k h w", b=frames.shape[0])
        branch = BranchOutput(logits, None, maps, used)
        return SegmentationOutput(logits=logits, prior_branch=branch)
