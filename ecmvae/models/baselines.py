"""AVSBench's own model, the baseline that ECMVAE is compared with: TPAVI and a decoder, no latents.

Zhou et al., "Audio-Visual Segmentation", ECCV 2022, arXiv 2207.05042.
"""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.backbones.vggish import EMBEDDING_DIM
from ecmvae.models.attention import TPAVI


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
        self, visual: Float[Tensor, "b t c h w"], audio: Float[Tensor, "b t a"] | None
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c"] | None]:
        """Fuse one scale.

        Args:
            visual: (B, T, C, h, w).
            audio: (B, T, A); None lets every pixel attend to all pixels of its clip (AVSBench's ablation).

        Returns:
            The fused map (B, T, C, h, w) and the aligned audio (B, T, C), None where none was given.
        """
        aligned = None if audio is None else self.align(audio)
        fused = self.attend(rearrange(visual, "b t c h w -> b t (h w) c"), aligned)
        return rearrange(fused, "b t (h w) c -> b t c h w", h=visual.shape[-2]), aligned
