"""What an audio encoder is: a front end that turns sound into features, and a network that embeds them.

The two are separate because features are cheap to cache and to compute in data workers, while the network runs on the
model's device. AVSBench's pickled log-mel patches, for instance, are a cache of VGGish's features.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio import AUDIO_ENCODERS
from ecmvae.audio.io import resample
from ecmvae.errors import UserError
from ecmvae.weight_files import compare_keys, read_weight_file

_GRID_SECONDS = 0.01
"""Windows start on multiples of this, the hop of every common spectrogram."""


@runtime_checkable
class AudioFrontEnd(Protocol):
    """Turns the sound around a frame into the features that an encoder reads. Pure and picklable."""

    @property
    def name(self) -> str:
        """Identifies the features: cached ones are used when their name is the front end's."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def seconds(self) -> float:
        """Length of the sound around a frame."""

    def __call__(self, waveforms: Float[Tensor, "n s"]) -> Float[Tensor, "n *f"]:
        """(n, samples) mono in [-1, 1], samples = round(sample_rate * seconds) -> features (n, ...)."""


class AudioEncoder(nn.Module, ABC):
    """A network that embeds the features of its front end, `dim` wide."""

    front_end: AudioFrontEnd
    dim: int

    @abstractmethod
    def forward(self, features: Float[Tensor, "n *f"]) -> Float[Tensor, "n a"]:
        """Features (n, ...) of the front end -> embeddings (n, A)."""


def build_audio_encoder(
    choice: str | nn.Module | type[nn.Module],
    weights: str | None = None,
    *,
    pretrained: bool = True,
    architecture: Mapping[str, Any] | None = None,
) -> Any:
    """Make an audio encoder: an `AudioEncoder`, or a module with its attributes.

    Args:
        choice: A name in `ecmvae.audio.AUDIO_ENCODERS`, an import path ``package.module:Class``, a class, or an
            encoder, which is returned as it is.
        weights: What to fill it with, see `load_audio_weights`, or for a foundation model a name of
            `ecmvae.hub.catalogue`, an address of the hub or a folder; None = random, or a foundation model's default.
        pretrained: False leaves a foundation model with random weights; without effect on others.
        architecture: Of a foundation model whose weights the caller fills in, as it was saved with a trained model.

    Raises:
        UserError: For an unknown name, listing the right ones, weights that are not available or do not fit, or an
            object that is not an audio encoder, saying what it lacks.
    """
    found = AUDIO_ENCODERS.get(choice)
    if (load := getattr(found, "from_weights", None)) is not None and not isinstance(
        found, nn.Module
    ):
        return check_audio_encoder(load(weights, pretrained=pretrained, architecture=architecture))
    encoder = (
        check_audio_encoder(found) if isinstance(found, nn.Module) else _instance(found, choice)
    )
    if weights is not None:
        load_audio_weights(encoder, weights)
    return encoder


def brings_weights(choice: str) -> bool:
    """Whether an audio encoder is a foundation model, which is never left with random weights unless that is wanted."""
    return hasattr(AUDIO_ENCODERS.get(choice), "from_weights")


def _instance(found: Any, choice: Any) -> Any:
    """An audio encoder of a class."""
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{choice} is not an audio encoder: it lacks a constructor without arguments"
        ) from error
    return check_audio_encoder(found())


def check_audio_encoder(encoder: Any) -> Any:
    """The encoder itself, if it has what an `AudioEncoder` has; it need not be a subclass.

    Raises:
        UserError: Naming the attributes that it lacks.
    """
    lacking = [] if isinstance(encoder, nn.Module) else ["the methods of nn.Module"]
    lacking += [f".{name}" for name in ("front_end", "dim") if not hasattr(encoder, name)]
    lacking = lacking or [
        f".front_end.{name}"
        for name in ("name", "sample_rate", "seconds")
        if not hasattr(encoder.front_end, name)
    ]
    if lacking:
        raise UserError(
            f"{type(encoder).__name__} is not an audio encoder: it lacks {' and '.join(lacking)}"
        )
    return encoder


def check_embedding(encoder: nn.Module, embedding: Tensor, dim: int) -> None:
    """Compare what an audio encoder returned with the width that it declares.

    Raises:
        UserError: If the embedding is not (n, dim), naming the encoder and both shapes.
    """
    if embedding.ndim != 2 or embedding.shape[1] != dim:
        shape = ", ".join(["n", *map(str, embedding.shape[1:])])
        raise UserError(
            f"{type(encoder).__name__} declares embeddings of width {dim} (.dim), but returns ({shape}): "
            "make .dim the width of what forward returns"
        )


def sound_windows(
    waveform: Float[Tensor, " s"],
    sample_rate: int,
    front_end: AudioFrontEnd,
    count: int,
    hop_seconds: float = 1.0,
    start_seconds: float = 0.0,
) -> Float[Tensor, "n w"]:
    """The sound around each of `count` frames of a clip, at the front end's rate.

    Frame k stands in the middle of the second that starts at ``start_seconds + k * hop_seconds``; its window has the
    same middle. Sound before the start and after the end of the waveform is silence.

    Args:
        waveform: (S,) mono.
        sample_rate: Of the waveform, in Hz.
        front_end: Decides rate and length of the windows.
        count: Number of frames.
        hop_seconds: Seconds between two frames.
        start_seconds: Where the first frame's second starts, not negative.

    Returns:
        (count, round(front_end.sample_rate * front_end.seconds)).

    Raises:
        ValueError: If `hop_seconds` is below 0.01.
    """
    if hop_seconds < _GRID_SECONDS:
        raise ValueError(f"hop_seconds must be at least {_GRID_SECONDS}, got {hop_seconds}")
    sound = resample(waveform.float(), sample_rate, front_end.sample_rate)
    length = window_samples(front_end)
    lead = round((0.5 - front_end.seconds / 2) * front_end.sample_rate)
    starts = [
        round(
            round((start_seconds + k * hop_seconds) / _GRID_SECONDS)
            * _GRID_SECONDS
            * front_end.sample_rate
        )
        + lead
        for k in range(count)
    ]
    before = max(0, -min(starts, default=0))
    after = max(0, max(starts, default=0) + length - len(sound))
    padded = nn.functional.pad(sound, (before, after))
    windows = [padded[start + before : start + before + length] for start in starts]
    return torch.stack(windows) if windows else sound.new_zeros(0, length)


def window_samples(front_end: AudioFrontEnd) -> int:
    """Samples that a front end takes for one frame."""
    return round(front_end.sample_rate * front_end.seconds)


def load_audio_weights(encoder: nn.Module, path: str | Path) -> None:
    """Load weights into an audio encoder, in place.

    Args:
        encoder: The encoder to fill.
        path: A folder with model.safetensors (as `ecmvae train-audio` writes it), a .safetensors file, or a file saved
            by ``torch.save``, such as the released ``vggish-10086976.pth``.

    Raises:
        UserError: If the path does not exist or holds another network's weights.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "model.safetensors"
    if not file.is_file():
        raise UserError(
            f"audio weights not found: {file} (model.audio.weights): docs/weights.md says where VGGish's file is from, "
            "and ecmvae train-audio makes a folder of your own"
        )
    fill_audio_encoder(encoder, read_weight_file(file), str(file))


def fill_audio_encoder(encoder: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Fill an audio encoder, in place, from tensors that carry its own names.

    A PCA kept beside the network (``pproc.*`` in VGGish's released extractor) is left out.

    Raises:
        UserError: Naming the keys that are missing, unexpected or of another shape.
    """
    own = encoder.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith("pproc.")}
    try:
        compare_keys(where, own, given)
    except UserError as error:
        raise UserError(
            f"{where} does not hold the weights of {type(encoder).__name__}: {error}"
        ) from None
    encoder.load_state_dict({**own, **given})
