"""What prediction needs of a model; `Segmenter` and `OnnxModel` have it, and any module from outside may."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ecmvae.audio.encoder import AudioFrontEnd
from ecmvae.errors import UserError
from ecmvae.visual.normalisation import Normalisation


@runtime_checkable
class ClipModel(Protocol):
    """A model of clips of T square frames of side S; `Segmenter` explains its members."""

    image_size: int
    num_frames: int
    class_names: tuple[str, ...]
    normalisation: Normalisation
    front_end: AudioFrontEnd | None

    def encode_audio(self, features: Tensor) -> Tensor:
        """Audio features (B, T, ...) -> embeddings (B, T, A)."""

    def sample_logits(self, frames: Tensor, audio: Tensor, num_samples: int) -> Tensor:
        """Logits (N, B, T, K, S, S) under N draws of the latents."""

    def __call__(self, frames: Tensor, audio: Tensor, *, latents: str) -> Any:
        """An object whose `logits` are (B, T, K, S, S)."""


def check_model(model: Any) -> tuple[ClipModel, AudioFrontEnd]:
    """The model and its front end.

    Raises:
        UserError: Naming what it lacks.
    """
    needs = (*ClipModel.__annotations__, "encode_audio", "sample_logits")
    if lacking := [f".{name}" for name in needs if not hasattr(model, name)]:
        raise UserError(f"{type(model).__name__} is not a model that predicts: it lacks {' and '.join(lacking)}")
    if model.front_end is None:
        raise UserError(
            "this model has no audio encoder: set model.audio.weights to a VGGish file or to a folder made by "
            "ecmvae train-audio"
        )
    return model, model.front_end
