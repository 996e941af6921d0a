"""The segmentation models. `build_model` is the door at which the configuration stops."""

from __future__ import annotations

from ecmvae.audio.vggish import build_audio_encoder, load_audio_weights
from ecmvae.config import ModelConfig
from ecmvae.models.base import BranchOutput, SegmentationOutput, Segmenter
from ecmvae.models.baselines import TPAVIBaseline
from ecmvae.models.ecmvae import ECMVAE
from ecmvae.visual.backbone import VisualBackbone

ECMVAEOutput = SegmentationOutput
"""The former name of `SegmentationOutput`, kept for one release."""

__all__ = [
    "ECMVAE",
    "BranchOutput",
    "ECMVAEOutput",
    "SegmentationOutput",
    "Segmenter",
    "TPAVIBaseline",
    "build_model",
]


def build_model(config: ModelConfig, *, image_size: int = 224, with_audio_encoder: bool | None = None) -> Segmenter:
    """Build the network a configuration describes, with the weights it names.

    Args:
        config: The `model` part of a `Config`.
        image_size: Side of the square frames in pixels.
        with_audio_encoder: Whether to include an audio encoder. By default it is there if its weights are named or if
            it is to be trained: a frozen encoder with random weights would make noise of every sound.

    Raises:
        UserError: For weights that cannot be had or do not fit.
    """
    if with_audio_encoder is None:
        with_audio_encoder = config.audio.weights is not None or not config.audio.frozen
    audio_encoder = build_audio_encoder(config.audio.name) if with_audio_encoder else None
    if audio_encoder is not None and config.audio.weights is not None:
        load_audio_weights(audio_encoder, config.audio.weights)
    backbone = VisualBackbone(config.visual.name, weights=config.visual.weights, image_size=image_size)
    if config.name == "tpavi":
        return TPAVIBaseline(
            backbone,
            audio_encoder,
            image_size=image_size,
            channels=config.channels,
            num_classes=config.num_classes,
            freeze_backbone=config.visual.frozen,
            freeze_audio=config.audio.frozen,
        )
    return ECMVAE(
        backbone,
        audio_encoder,
        image_size=image_size,
        channels=config.channels,
        neck=config.neck,
        num_classes=config.num_classes,
        fusion=config.fusion.kind,
        latent_kind=config.latent.kind,
        latent_fusion=config.latent.fusion,
        latent_dim=config.latent.dim,
        weak_posterior=config.latent.weak_posterior,
        freeze_backbone=config.visual.frozen,
        freeze_audio=config.audio.frozen,
    )
