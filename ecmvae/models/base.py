"""What every segmentation model shares: inputs, one output type, two encoders and which of them are frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.models.fusion import Match
from ecmvae.models.latents import FactorizedLatents, LatentMode, LatentSamples
from ecmvae.models.pretrained import Pretrained
from ecmvae.visual.backbone import VisualBackbone


@dataclass(frozen=True)
class BranchOutput:
    """Intermediate results of the prior or the posterior branch.

    Attributes:
        logits: (B, T, K, H, W), K = 1 or the number of classes.
        samples: The latents that were drawn; None without latents.
        fused: Four fused maps (N, C, h, w), finest first.
        audio: The audio that the fusion at each scale returned, four times (N, A), with A = C where they are compared.
        matches: How the gates of the four scales compared pixels and sounds; empty without gates.
    """

    logits: Tensor
    samples: LatentSamples | None
    fused: tuple[Tensor, ...]
    audio: tuple[Tensor, ...]
    matches: tuple[Match, ...] = ()


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
    prior: FactorizedLatents | None = None
    posterior: FactorizedLatents | None = None
    informed: Tensor | None = None
    prior_branch: BranchOutput
    posterior_branch: BranchOutput | None = None


class Segmenter(Pretrained, ABC):
    """Base of `ECMVAE` and `TPAVIBaseline`.

    A subclass implements `forward`. Training, evaluation, prediction and export use this interface alone.

    Args:
        backbone: Four maps at strides 4, 8, 16, 32.
        audio_encoder: Log-mel patches to embeddings; None where embeddings are computed elsewhere.
        image_size: Side of the square frames in pixels.
        num_classes: K, channels of the logits: 1 for binary masks, else classes of which 0 is the background.
        freeze_backbone: Keep the backbone fixed and in eval mode.
        freeze_audio: Keep the audio encoder fixed and in eval mode.
    """

    __call__: Callable[..., SegmentationOutput]

    class_names: tuple[str, ...] = ()
    """Names of the classes by number, where they are known; saved and loaded with the model."""

    def __init__(
        self,
        backbone: VisualBackbone,
        audio_encoder: nn.Module | None = None,
        *,
        image_size: int = 224,
        num_classes: int = 1,
        freeze_backbone: bool = False,
        freeze_audio: bool = True,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_classes = num_classes
        self.backbone = backbone
        self.audio_encoder = audio_encoder
        self._frozen: list[nn.Module] = [backbone] if freeze_backbone else []
        if freeze_audio and audio_encoder is not None:
            self._frozen.append(audio_encoder)
        for module in self._frozen:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Segmenter:
        """Frozen parts stay in eval mode: their BatchNorm statistics are fixed too."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    @abstractmethod
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
            masks: (B, T, 1, H, W) in {0, 1}, for a model that has a posterior.
            supervised: (B, T), which masks are known; None = all.
            latents: "sample" draws the latents, "mean" takes their means.
            features: What `extract_features(frames)` returned, if it was computed already.
        """

    def extract_features(self, frames: Float[Tensor, "b t 3 h w"]) -> tuple[Tensor, ...]:
        """The backbone's four maps (B, T, C_i, H/s, W/s), finest first; without gradient when it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.backbone not in self._frozen):
            maps = self.backbone(rearrange(frames, "b t c h w -> (b t) c h w"))
        return tuple(rearrange(each, "(b t) c h w -> b t c h w", b=frames.shape[0]) for each in maps)

    def encode_audio(self, features: Float[Tensor, "b t *f"]) -> Float[Tensor, "b t a"]:
        """Embed the audio features of every frame: (B, T, ...) -> (B, T, A).

        Raises:
            UserError: When the model was built without audio weights.
        """
        if self.audio_encoder is None:
            raise UserError(
                "this model has no audio encoder: set model.audio.weights to a VGGish file or to a folder made by "
                "ecmvae train-audio, or tune one from scratch with model.audio.frozen: false"
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.audio_encoder not in self._frozen):
            embedding: Tensor = self.audio_encoder(features.flatten(0, 1))
        return rearrange(embedding, "(b t) a -> b t a", b=features.shape[0])

    @torch.no_grad()
    def sample_logits(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        num_samples: int,
        features: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "s b t k h w"]:
        """Logits under S draws of the latents, (S, B, T, K, H, W); the backbone runs once.

        Raises:
            ValueError: When `num_samples` is below 1.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        maps = features or self.extract_features(frames)
        return torch.stack([self(frames, audio, features=maps).logits for _ in range(num_samples)])

    def _pyramid(self, frames: Tensor, features: Sequence[Tensor] | None) -> list[Tensor]:
        """The backbone's maps (N, C_i, H/s, W/s), computed unless they are at hand already.

        Raises:
            UserError: When frames have another size than the model was built for.
        """
        if frames.shape[-2:] != (self.image_size, self.image_size):
            raise UserError(
                f"frames are {tuple(frames.shape[-2:])}, but the model was built for {self.image_size} pixels: "
                "resize them, or train a model of that data.image_size"
            )
        return [rearrange(each, "b t c h w -> (b t) c h w") for each in features or self.extract_features(frames)]
