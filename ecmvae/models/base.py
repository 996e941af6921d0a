"""The interface of every segmentation model, and `build_model`, the door at which the configuration stops."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.audio import AUDIO_ENCODERS
from ecmvae.audio.encoder import (
    AudioFrontEnd,
    brings_weights,
    build_audio_encoder,
    check_audio_encoder,
    check_embedding,
)
from ecmvae.audio.vggish import EMBEDDING_DIM
from ecmvae.config import ModelConfig
from ecmvae.errors import UserError
from ecmvae.hub.folder import StoredModel, code_in
from ecmvae.hub.named_models import CONFIG_FILE, WEIGHTS_FILE
from ecmvae.hub.pretrained import Pretrained
from ecmvae.models.latents import LatentMode
from ecmvae.models.output import BranchOutput, ExtractedMaps, SegmentationOutput
from ecmvae.models.skeleton import skeletons
from ecmvae.registry import Registry
from ecmvae.types import FrameSubset
from ecmvae.visual.build import build_backbone, channels_of, check_maps
from ecmvae.visual.classifier import SAVED_TABLE
from ecmvae.visual.normalisation import IMAGENET, Normalisation
from ecmvae.weight_files import differences

__all__ = [
    "MODELS",
    "BranchOutput",
    "SegmentationOutput",
    "Segmenter",
    "build_model",
    "without_weights",
]


class Segmenter(Pretrained):
    """Base of `ECMVAE` and `TPAVIBaseline`.

    A subclass implements `forward`. Training, evaluation, prediction and export use this interface alone.

    Args:
        backbone: Four maps at strides 4, 8, 16, 32.
        audio_encoder: Audio features to embeddings; None if embeddings are computed elsewhere.
        audio_dim: A, width of the embeddings; by default the audio encoder's, or VGGish's without one.
        image_size: Side of the square frames in pixels.
        num_classes: K, channels of the logits: 1 for binary masks, else classes of which 0 is the background.
        freeze_backbone: Keep the backbone fixed and in eval mode.
        freeze_audio: Keep the audio encoder fixed and in eval mode.
    """

    __call__: Callable[..., SegmentationOutput]

    class_names: tuple[str, ...] = ()
    """Names of the classes by number, where they are known; saved and loaded with the model."""

    normalisation: Normalisation
    """Of the frames: the backbone's own, unless a saved model was trained with another one."""

    def __init__(
        self,
        backbone: nn.Module,
        audio_encoder: nn.Module | None = None,
        *,
        audio_dim: int | None = None,
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
        self.audio_dim = _audio_width(audio_encoder, audio_dim)
        self.normalisation = getattr(backbone, "normalisation", IMAGENET)
        self._frozen: list[nn.Module] = [backbone] if freeze_backbone else []
        if freeze_audio and audio_encoder is not None:
            self._frozen.append(audio_encoder)
        for module in self._frozen:
            module.requires_grad_(False).eval()

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        backbone: nn.Module,
        audio_encoder: nn.Module | None,
        **arguments: Any,
    ) -> Segmenter:
        """Build the network that a configuration describes around its two encoders.

        Args:
            config: The `model` part of a `Config`.
            backbone: See the class.
            audio_encoder: See the class.
            **arguments: Further arguments of the class, such as ``audio_dim`` and ``image_size``.
        """
        return cls(
            backbone,
            audio_encoder,
            channels=config.channels,  # type: ignore[call-arg]  # every network has a width
            num_classes=config.num_classes,
            freeze_backbone=config.visual.frozen,
            freeze_audio=config.audio.frozen,
            **arguments,
        )

    @classmethod
    def restore(cls, stored: StoredModel) -> Segmenter:
        """Build the model of a folder that was read, in eval mode; it may be of another class than this.

        It is built without memory first, so that a configuration whose sizes are not those of its weights costs none.

        Raises:
            UserError: If the weights are not those of the configuration.
        """
        config, known = stored.config, stored.architectures
        with_audio = any(name.startswith("audio_encoder.") for name in stored.state)
        network, size = without_weights(config.model), config.data.image_size
        if not code_in(config):  # code that is trusted may need memory to be built at all
            with skeletons():
                skeleton = build_model(
                    network, image_size=size, with_audio_encoder=with_audio, architectures=known
                )
            _check_weights(stored, skeleton)
        model = build_model(
            network, image_size=size, with_audio_encoder=with_audio, architectures=known
        )
        _check_weights(stored, model)
        model.load_state_dict({**model.state_dict(), **stored.state})
        model.config = config
        model.class_names = tuple(stored.metadata.get("class_names", ()))
        # folders written by ecmvae 0.x have none: they used ImageNet's
        saved = stored.metadata.get("normalisation")
        model.normalisation = IMAGENET if saved is None else Normalisation.from_dict(saved)
        return model.eval()

    def metadata(self) -> dict[str, Any]:
        """What metadata.json keeps of a model: the normalisation of its frames, and the names of its classes."""
        names = {"class_names": list(self.class_names)} if self.class_names else {}
        known = {"architectures": self.architectures} if self.architectures else {}
        return {"normalisation": self.normalisation.to_dict(), **names, **known}

    @property
    def architectures(self) -> dict[str, Any]:
        """Of the foundation models among its encoders, by "visual" and "audio"; empty without any."""
        parts: dict[str, Any] = {"visual": self.backbone, "audio": self.audio_encoder}
        return {
            name: part.architecture for name, part in parts.items() if hasattr(part, "architecture")
        }

    @property
    def num_frames(self) -> int:
        """T, the usual number of frames of a clip; any other works too."""
        return 5 if self.config is None else self.config.data.num_frames

    @property
    def hop_seconds(self) -> float:
        """Seconds between two frames."""
        return 1.0 if self.config is None else self.config.data.hop_seconds

    def freeze(self, parts: Sequence[str]) -> None:
        """Keep these modules and parameters, by dotted name, as they are: without gradient, and in eval mode."""
        for part in parts:
            found = attrgetter(part)(self)
            found.requires_grad_(False)
            if isinstance(found, nn.Module):
                self._frozen.append(found.eval())

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
        supervised: Bool[Tensor, "b t"] | FrameSubset | None = None,
        latents: LatentMode = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> SegmentationOutput:
        """Segment clips.

        Args:
            frames: (B, T, 3, H, W), normalised RGB.
            audio: (B, T, A) embeddings, see `encode_audio`.
            masks: (B, T, 1, H, W) in {0, 1}, for a model that has a posterior; only supervised frames' are used.
            supervised: (B, T), which masks are known, or the `FrameSubset` of them, with which a GPU need not be waited
                for; None = all.
            latents: "sample" draws the latents, "mean" takes their means.
            features: What `extract_features(frames)` returned, if it was computed already, or `frozen_features`.

        Raises:
            UserError: If frames have another size than the model was built for.
        """

    def extract_features(self, frames: Float[Tensor, "b t 3 h w"]) -> tuple[Tensor, ...]:
        """The backbone's four maps (B, T, C_i, H/s, W/s), finest first; without gradient when it is frozen.

        Raises:
            UserError: If the maps are not those that the backbone declares.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.backbone not in self._frozen):
            maps = self.backbone(rearrange(frames, "b t c h w -> (b t) c h w"))
        check_maps(self.backbone, maps, (frames.shape[-2], frames.shape[-1]))
        return ExtractedMaps(
            rearrange(each, "(b t) c h w -> b t c h w", b=frames.shape[0]) for each in maps
        )

    @property
    def frozen_parts(self) -> nn.ModuleList:
        """What computes `frozen_features`; weights in it that are trained have no part in that."""
        return nn.ModuleList([self.backbone])

    @property
    def frozen_channels(self) -> tuple[int, ...]:
        """Channels of what `frozen_features` returns."""
        return tuple(channels_of(self.backbone))

    @property
    def frozen_form(self) -> str:
        """What `frozen_features` depends on beside weights; "" for nothing."""
        return ""

    def frozen_features(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """What the frozen parts make of frames alone, (N, C, h, w) each: training may compute it once for a clip.

        These are the backbone's maps, unless a network keeps more of itself frozen. `forward` takes them, as
        (B, T, C, h, w), for `features`.
        """
        maps: Sequence[Tensor] = self.backbone(frames)
        check_maps(self.backbone, maps, (frames.shape[-2], frames.shape[-1]))
        return tuple(maps)

    @property
    def front_end(self) -> AudioFrontEnd | None:
        """What makes the audio features of `encode_audio`; None without an audio encoder."""
        front_end: AudioFrontEnd | None = getattr(self.audio_encoder, "front_end", None)
        return front_end

    def encode_audio(self, features: Float[Tensor, "b t *f"] | None) -> Float[Tensor, "b t a"]:
        """Embed the audio features of every frame: (B, T, ...) -> (B, T, A).

        Raises:
            UserError: If the model has no audio encoder, or its embeddings are not as wide as it declares.
        """
        if self.audio_encoder is None or features is None:
            raise UserError(
                "this model has no audio encoder: set model.audio.weights to a VGGish file or to a folder made by "
                "ecmvae train-audio, or tune one from scratch with model.audio.frozen: false"
            )
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and self.audio_encoder not in self._frozen
        ):
            embedding: Tensor = self.audio_encoder(features.flatten(0, 1))
        check_embedding(self.audio_encoder, embedding, self.audio_dim)
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
            ValueError: If `num_samples` is below 1.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        maps = features or self.extract_features(frames)
        return torch.stack([self(frames, audio, features=maps).logits for _ in range(num_samples)])

    def _pyramid(self, frames: Tensor, features: Sequence[Tensor] | None) -> list[Tensor]:
        """The backbone's maps (N, C_i, H/s, W/s), computed unless `features` holds them.

        Raises:
            UserError: If frames have another size than the model was built for.
        """
        if frames.shape[-2:] != (self.image_size, self.image_size):
            raise UserError(
                f"frames are {tuple(frames.shape[-2:])}, but the model was built for {self.image_size} pixels: "
                "resize them, or train a model of that data.image_size"
            )
        return [
            rearrange(each, "b t c h w -> (b t) c h w")
            for each in features or self.extract_features(frames)
        ]


MODELS: Registry[type[Segmenter]] = Registry(
    "model",
    {"ecmvae": "ecmvae.models.ecmvae:ECMVAE", "tpavi": "ecmvae.models.baselines:TPAVIBaseline"},
    needs=("from_config",),
)
"""Segmentation models by name."""


def build_model(
    config: ModelConfig,
    *,
    image_size: int = 224,
    with_audio_encoder: bool | None = None,
    architectures: Mapping[str, Mapping[str, Any]] | None = None,
) -> Segmenter:
    """Build the network a configuration describes, with the weights it names.

    Args:
        config: The `model` part of a `Config`.
        image_size: Side of the square frames in pixels.
        with_audio_encoder: Whether to include an audio encoder. By default it is included if its weights are named, if
            it is trained, or if it is not one of ours and may bring weights of its own: a frozen encoder with random
            weights would turn every sound into noise.
        architectures: Of the foundation models among its encoders, by "visual" and "audio", as a trained model's folder
            keeps them; their weights are then left for the caller to fill in.

    Raises:
        UserError: For an unknown name, or weights that are not available or do not fit.
    """
    if with_audio_encoder is None:
        own = config.audio.name not in AUDIO_ENCODERS or brings_weights(config.audio.name)
        with_audio_encoder = own or config.audio.weights is not None or not config.audio.frozen
    known, audio_encoder = architectures or {}, None
    if with_audio_encoder:
        audio = config.audio
        audio_encoder = build_audio_encoder(
            audio.name, audio.weights, pretrained=audio.pretrained, architecture=known.get("audio")
        )
    audio_dim: int | None = None
    # its width is needed all the same: found without spending time or random numbers
    if audio_encoder is None:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            name, architecture = config.audio.name, known.get("audio")
            audio_dim = build_audio_encoder(name, pretrained=False, architecture=architecture).dim
    visual = config.visual
    backbone = build_backbone(
        visual.name,
        weights=visual.weights,
        image_size=image_size,
        drop_path=visual.drop_path,
        pretrained=visual.pretrained,
        architecture=known.get("visual"),
    )
    return MODELS.get(config.name).from_config(
        config, backbone, audio_encoder, audio_dim=audio_dim, image_size=image_size
    )


def _check_weights(stored: StoredModel, model: Segmenter) -> None:
    """Raise a `UserError` if a model folder's tensors are not those of the model, by name and shape."""
    if faults := differences(model.state_dict(), stored.state):
        weights, config = stored.folder / WEIGHTS_FILE, stored.folder / CONFIG_FILE
        raise UserError(f"{weights} is a checkpoint of another config than {config}: {faults}")


def _audio_width(audio_encoder: nn.Module | None, audio_dim: int | None) -> int:
    """Width of the audio embeddings, which must be the encoder's where there is one."""
    if audio_encoder is None:
        return EMBEDDING_DIM if audio_dim is None else audio_dim
    width: int = check_audio_encoder(audio_encoder).dim
    if audio_dim not in (None, width):
        raise UserError(
            f"audio_dim={audio_dim}, but {type(audio_encoder).__name__} has embeddings of width {width}"
        )
    return width


def without_weights(config: ModelConfig) -> ModelConfig:
    """The same network, without the files it was initialised from: a model folder holds all weights."""
    fusion = (
        config.fusion if config.fusion.table is None else replace(config.fusion, table=SAVED_TABLE)
    )
    visual = replace(config.visual, weights=None, pretrained=False)
    audio = replace(config.audio, weights=None, pretrained=False)
    return replace(config, visual=visual, audio=audio, fusion=fusion)
