"""What prediction needs of a model; `Segmenter` and `OnnxModel` have it, and any module from outside may."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ecmvae.audio.encoder import AudioFrontEnd
from ecmvae.errors import UserError
from ecmvae.visual.normalisation import Normalisation


@runtime_checkable
class HasLogits(Protocol):
    """Output of a model: logits (B, T, K, H, W), K = 1 or the number of classes."""

    @property
    def logits(self) -> Tensor:
        """(B, T, K, H, W)."""


@runtime_checkable
class ClipModel(Protocol):
    """A model of clips of `num_frames` square frames with the sound around each."""

    @property
    def image_size(self) -> int:
        """S, side of the frames in pixels."""

    @property
    def num_frames(self) -> int:
        """T, frames of a clip."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by number, where they are known."""

    @property
    def normalisation(self) -> Normalisation:
        """Of the frames."""

    @property
    def front_end(self) -> AudioFrontEnd | None:
        """Makes the audio features; None for a model without an audio encoder."""

    def encode_audio(self, features: Float[Tensor, "b t *f"]) -> Float[Tensor, "b t *a"]:
        """Embed the audio features of every frame."""

    def __call__(
        self, frames: Float[Tensor, "b t 3 s s"], audio: Float[Tensor, "b t *a"], *, latents: Literal["mean"]
    ) -> HasLogits:
        """Segment clips with latents at their means."""

    def sample_logits(
        self, frames: Float[Tensor, "b t 3 s s"], audio: Float[Tensor, "b t *a"], num_samples: int
    ) -> Float[Tensor, "n b t k s s"]:
        """Logits under several draws of the latents."""


def check_model(model: object) -> tuple[ClipModel, AudioFrontEnd]:
    """The model and its front end, if it is a `ClipModel` that hears.

    Raises:
        UserError: Naming what it lacks.
    """
    members = [name for name in vars(ClipModel) if not name.startswith("_")]
    if missing := [name for name in members if not hasattr(model, name)]:
        raise UserError(
            f"{type(model).__name__} is not a model that predicts: it lacks {' and '.join(f'.{n}' for n in missing)}"
        )
    assert isinstance(model, ClipModel)
    if model.front_end is None:
        raise UserError(
            "this model has no audio encoder: set model.audio.weights to a VGGish file or to a folder made by "
            "ecmvae train-audio"
        )
    return model, model.front_end
