"""What runs a model while it predicts: PyTorch, or onnxruntime, which needs no PyTorch at all.

An engine takes and gives NumPy arrays. Everything else in prediction knows engines and no framework, so with an
exported model ``pip install ecmvae[onnx]`` is enough, and `ecmvae predict` answers before PyTorch would have been
imported.
"""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import short
from ecmvae.hub.concepts import ConceptsName
from ecmvae.hub.find import default_model, find_model_folder
from ecmvae.prediction.named_maps import NamedMaps
from ecmvae.prediction.onnx_engine import OnnxEngine, graphs_of
from ecmvae.prediction.options import EngineName, PredictorOptions
from ecmvae.prediction.remembered_engines import remembered
from ecmvae.visual.normalisation import Normalisation

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import nn
else:
    nn = Any


@runtime_checkable
class Engine(Protocol):
    """A model that is ready to predict clips of T square frames of side S.

    Attributes:
        name: How it runs, for people: "onnx", "eager".
        image_size: S in pixels.
        num_frames: T.
        class_names: By number; empty for a model without classes.
        normalisation: Of the frames.
        sample_rate: Of the sound, in Hz.
        seconds: Of sound around a frame.

    An engine may also have `one_by_one = True`: it is then given one clip at a time unless latents are sampled, and the
    first masks of a video need not wait for the clips that are still to come.
    """

    name: str
    image_size: int
    num_frames: int
    class_names: tuple[str, ...]
    normalisation: Normalisation
    sample_rate: int
    seconds: float

    def features(self, waveforms: Float[np.ndarray, "n s"]) -> Float[np.ndarray, "n *f"]:
        """What the model hears of each frame: (n, round(sample_rate * seconds)) in [-1, 1] -> features (n, ...)."""

    def logits(
        self,
        frames: Float[np.ndarray, "b t 3 s s"],
        features: Float[np.ndarray, "b t *f"],
        samples: int,
        seed: int,
    ) -> Float[np.ndarray, "k b t c s s"]:
        """Logits (K, B, T, C, S, S) of normalised frames under K = `samples` draws of the latents.

        Args:
            frames: (B, T, 3, S, S).
            features: (B, T, ...).
            samples: 1 takes the latents' means.
            seed: Of the draws.
        """


@runtime_checkable
class NamingEngine(Engine, Protocol):
    """An engine that says at once where something sounds, under which name, and how surely each name sounds."""

    def name_masks(
        self, frames: Float[np.ndarray, "b t 3 s s"], features: Float[np.ndarray, "b t *f"]
    ) -> NamedMaps:
        """Probabilities, classes and activities, each frame for itself."""

    def with_concepts(self, concepts: str | None) -> NamingEngine:
        """The same networks with other names."""


def open_engine(
    model: Engine | nn.Module | str | Path | None,
    device: str,
    options: PredictorOptions,
    *,
    engine: EngineName = "auto",
    trust_code: bool = False,
) -> Engine:
    """The engine of a model.

    Args:
        model: An engine, which is returned as it is; a module; a model folder, run, name or address; an .onnx file; or
            None for the default model.
        device: See `ecmvae.device.choose_device`; onnxruntime runs on the CPU.
        options: Latent draws and half precision are PyTorch's.
        engine: "auto" takes onnxruntime where the model has been exported and nothing speaks against it: no other
            device, one draw of the latents, full precision, and PyTorch was not measured to be faster here
            (`ecmvae.prediction.calibration`). "onnx" exports the model if need be, and keeps the file.
        trust_code: Import the classes that the model's configuration names by import path.

    Raises:
        UserError: If the model or device does not exist, or the engine is not installed or cannot run the model.
    """
    if engine not in get_args(EngineName):
        raise UserError(f"unknown engine {engine!r}: use {', '.join(get_args(EngineName))}")
    if isinstance(model, str | Path) and (name := ConceptsName.parse(str(model))):
        return _open_concepts(name, device, options, engine)
    if (
        options.concepts is not None
        and not isinstance(model, NamingEngine)
        and not hasattr(model, "with_concepts")
    ):
        raise UserError(
            f"--concepts goes with --checkpoint concepts: {short(str(model))} has learned its own"
        )
    if isinstance(model, str | Path) and str(model).endswith(".onnx"):
        if engine not in ("auto", "onnx"):
            raise UserError(
                f"{show_path(Path(model))} runs with onnxruntime alone: leave --engine out"
            )
        return OnnxEngine(Path(model))
    if isinstance(model, str | Path | None):
        folder = default_model() if model is None else find_model_folder(model)
        if found := _exported(folder, device, options, engine, trust_code=trust_code):
            return found
        _refuse_without_torch(folder)
        from ecmvae.prediction.torch_engine import load_torch_engine

        return load_torch_engine(
            folder, device, half=options.half, compiled=engine == "compile", trust_code=trust_code
        )
    if isinstance(model, Engine):
        return model
    if engine == "onnx":
        raise UserError(
            "--engine onnx runs a model folder or an .onnx file, not a module: save_pretrained it first"
        )
    if hasattr(model, "name_masks"):
        from ecmvae.prediction.concepts_engine import ConceptsEngine

        named: Any = model
        if options.concepts is not None:
            named = named.with_concepts(options.concepts)
        return ConceptsEngine(named, device, half=options.half)
    from ecmvae.prediction.torch_engine import TorchEngine, check_model

    return TorchEngine(check_model(model), device, half=options.half, compiled=engine == "compile")


def _open_concepts(
    name: ConceptsName, device: str, options: PredictorOptions, engine: EngineName
) -> Engine:
    if engine not in ("auto", "eager"):
        raise UserError(f"--engine {engine} does not run concepts: leave it out")
    if options.samples > 1:
        raise UserError("concepts have no latents to sample: leave --samples out")
    missing = [package for package in ("torch", "transformers") if find_spec(package) is None]
    if missing:
        raise UserError(f"concepts need {' and '.join(missing)}: pip install 'ecmvae[foundation]'")
    from ecmvae.foundation.kept import default_folder
    from ecmvae.models.concepts import Concepts
    from ecmvae.prediction.concepts_engine import ConceptsEngine

    keep = default_folder() if options.cache else None
    return ConceptsEngine(
        Concepts.load(name, options.concepts, keep=keep), device, half=options.half
    )


def _exported(
    folder: Path, device: str, options: PredictorOptions, engine: EngineName, *, trust_code: bool
) -> OnnxEngine | None:
    """The folder's model in onnxruntime, where that is wanted or the best choice; else None."""
    if engine in ("eager", "compile"):
        return None
    reasons = {
        "--samples above 1": options.samples > 1,
        "--half": options.half,
        f"--device {device}": device not in ("auto", "cpu"),
        "the absence of onnxruntime (pip install 'ecmvae[onnx]')": find_spec("onnxruntime") is None,
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if engine == "onnx" and against:
        raise UserError(f"--engine onnx does not go with {' and '.join(against)}")
    if engine == "auto" and (against or (device == "auto" and _has_gpu())):
        return None
    for graph in graphs_of(folder):
        try:
            found = OnnxEngine(graph)
        except UserError as error:
            if engine == "onnx" or find_spec("torch") is None:
                raise
            logger.warning("%s; PyTorch runs the model instead", error)
            return None
        if found.reads_weights or graph.parent != folder:
            slower = (
                engine == "auto" and find_spec("torch") and remembered(found.identity) == "eager"
            )
            return None if slower else found
        # else somebody's export lies in the folder, of whatever weights
    if engine == "auto":
        return None
    _refuse_without_torch(folder)
    from ecmvae.prediction.export import export_into_cache

    return OnnxEngine(export_into_cache(folder, trust_code=trust_code))


def _has_gpu() -> bool:
    """Whether PyTorch may find a GPU here: looked up without importing it."""
    if find_spec("torch") is None:
        return False
    return sys.platform == "darwin" or any(
        Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")
    )


def _refuse_without_torch(folder: Path) -> None:
    if find_spec("torch") is None:
        name = show_path(folder)
        if graphs_of(folder) and find_spec("onnxruntime"):
            raise UserError(
                f"{name}: --samples, --half, --device and other engines need pip install 'ecmvae[torch]'"
            )
        what = "onnx" if graphs_of(folder) else "torch"
        raise UserError(f"{name} cannot run here: pip install 'ecmvae[{what}]'")
