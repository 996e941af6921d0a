"""PyTorch as an engine of prediction, on any device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio.encoder import AudioFrontEnd
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.models.checkpoint import load_model
from ecmvae.visual.normalisation import Normalisation


@runtime_checkable
class ClipModel(Protocol):
    """What a module needs to predict: `Segmenter` explains these members, and any module from outside may have them."""

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


def check_model(model: Any) -> ClipModel:
    """The model itself.

    Raises:
        UserError: Naming what it lacks.
    """
    needs = (*ClipModel.__annotations__, "encode_audio", "sample_logits")
    if lacking := [f".{name}" for name in needs if not hasattr(model, name)]:
        raise UserError(
            f"{type(model).__name__} is not a model that predicts: it lacks {' and '.join(lacking)}"
        )
    if model.front_end is None:
        raise UserError(
            "this model has no audio encoder: set model.audio.weights to a VGGish file or to a folder made by "
            "ecmvae train-audio"
        )
    checked: ClipModel = model
    return checked


class TorchEngine:
    """A module behind the interface of `ecmvae.prediction.engine.Engine`.

    Args:
        model: It is moved to the device and put in eval mode.
        device: See `ecmvae.device.choose_device`.
        half: 16 bits inside the model: float16 on a GPU, bfloat16 on a CPU.
        compiled: Compile the model with torch.compile, which takes more than a minute at the start.
    """

    def __init__(
        self, model: ClipModel, device: str = "auto", *, half: bool = False, compiled: bool = False
    ) -> None:
        self.device = choose_device(device)
        if isinstance(model, nn.Module):
            model = model.to(self.device).eval()
        self.model, self._half = model, half
        self.one_by_one = self.device.type == "cpu"
        """Whether clips are run one after the other: on a CPU that takes less time and memory than a batch."""
        self.name = "compile" if compiled else "eager"
        assert model.front_end is not None  # check_model
        self._front_end: AudioFrontEnd = model.front_end
        self._run: Any = torch.compile(model, dynamic=False) if compiled else model
        self.image_size, self.num_frames = model.image_size, model.num_frames
        self.class_names = tuple(model.class_names)
        self.normalisation = model.normalisation
        self.sample_rate, self.seconds = self._front_end.sample_rate, self._front_end.seconds

    @torch.no_grad()
    def features(self, waveforms: Float[np.ndarray, "n s"]) -> Float[np.ndarray, "n *f"]:
        """Of the model's front end."""
        found: np.ndarray = self._front_end(torch.from_numpy(waveforms)).numpy()
        return found

    @torch.inference_mode()
    def logits(
        self,
        frames: Float[np.ndarray, "b t 3 s s"],
        features: Float[np.ndarray, "b t *f"],
        samples: int,
        seed: int,
    ) -> Float[np.ndarray, "k b t c s s"]:
        """Logits under `samples` draws of the latents; the random numbers of the program are left as they were."""
        device = self.device
        dtype = torch.bfloat16 if device.type == "cpu" else torch.float16
        fork = torch.random.fork_rng([device] if device.type == "cuda" else [])
        with torch.autocast(device.type, dtype, enabled=self._half), fork:
            torch.manual_seed(seed)
            audio = self.model.encode_audio(torch.from_numpy(features).to(device))
            pictures = torch.from_numpy(frames).to(device)
            if samples > 1:
                logits = self.model.sample_logits(pictures, audio, samples)
            elif self.one_by_one:
                each = [
                    self._run(pictures[[clip]], audio[[clip]], latents="mean").logits
                    for clip in range(len(pictures))
                ]
                logits = torch.cat(each)[None]
            else:
                logits = self._run(pictures, audio, latents="mean").logits[None]
        found: np.ndarray = logits.float().cpu().numpy()
        return found


def load_torch_engine(
    folder: Path,
    device: str,
    *,
    half: bool = False,
    compiled: bool = False,
    trust_code: bool = False,
) -> TorchEngine:
    """The engine of a model folder; its convolutions run with channels last, which is faster on a CPU.

    Raises:
        UserError: If the folder is damaged, names code that is not trusted, or holds no audio encoder.
    """
    chosen = choose_device(device)  # before the model is read
    model = load_model(folder, trust_code=trust_code)
    if chosen.type != "mps":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchEngine(check_model(model), device, half=half, compiled=compiled)
