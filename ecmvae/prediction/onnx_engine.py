"""onnxruntime as an engine of prediction: its only door, and free of PyTorch.

An exported file says in its metadata what prediction needs to know of the model. The file in a model folder holds the
graph alone and reads its weights from the model.safetensors beside it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ecmvae.audio.log_mel import SAMPLE_RATE, VGGISH_OFFSET, YAMNET_OFFSET, log_mel_patch
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import cut, parse_json, short
from ecmvae.hub.class_names import class_names_in
from ecmvae.hub.client import check_sha256
from ecmvae.hub.named_models import CONFIG_FILE, GRAPH_FILE, WEIGHTS_FILE
from ecmvae.memory import release_free_memory
from ecmvae.visual.normalisation import IMAGENET, Normalisation

MODEL_KEY = "ecmvae.model"
"""Metadata of the file, as JSON: what prediction needs to know of the model."""
WEIGHTS_KEY = "ecmvae.weights_sha256"
"""Metadata of a graph that reads its weights from the file beside it: what they must be."""
_OFFSETS = {"vggish": VGGISH_OFFSET, "yamnet": YAMNET_OFFSET}
"""Front ends that need no PyTorch, by name: what they add before the logarithm."""
# Its form before: the configuration and the names of the classes. Those models have VGGish's front end.
_CONFIG_KEY, _CLASSES_KEY = "ecmvae.config", "ecmvae.class_names"


class ArrayFrontEnd(NamedTuple):
    """An audio front end on arrays: its rate in Hz, the length of its windows, and (n, samples) -> (n, ...)."""

    sample_rate: int
    seconds: float
    features: Callable[[np.ndarray], np.ndarray]


class OnnxEngine:
    """An exported model in onnxruntime, on the CPU, behind the interface of `ecmvae.prediction.engine.Engine`.

    Args:
        path: The file.
        front_end: Audio front end of a model whose encoder is not registered in AUDIO_ENCODERS.
        threads: Of onnxruntime; None = OMP_NUM_THREADS, else as many as there are cores for this process.

    Raises:
        UserError: If the file is missing or was not written by `ecmvae export`, or its front end is not known.
    """

    name = "onnx"
    one_by_one = True

    def __init__(self, path: Path, front_end: Any = None, threads: int | None = None) -> None:
        self._path = path
        self._session = open_session(path, threads)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.reads_weights = WEIGHTS_KEY in properties
        """Whether the weights are those of the model.safetensors beside it."""
        self.identity = properties.get(WEIGHTS_KEY) or path.stem
        """The SHA-256 of its weights, or the name of a file that holds them itself."""
        if wanted := properties.get(WEIGHTS_KEY):
            check_sha256(path.parent / WEIGHTS_FILE, wanted, f"export {show_path(path)} again")
        self._inputs = [each.name for each in self._session.get_inputs()]
        description = _description(properties, path)
        outputs = [each.name for each in self._session.get_outputs()]
        if len(self._inputs) != 2 or "logits" not in outputs:
            raise UserError(
                f"{show_path(path)} must take frames and sound and give logits: export it again"
            )
        self.image_size: int = description["image_size"]
        self.num_frames: int = description["num_frames"]
        self.class_names = class_names_in(description, show_path(path))
        self.normalisation = Normalisation.from_dict(description["normalisation"])
        found = (
            _of_tensors(front_end)
            if front_end is not None
            else _front_end(description["front_end"], path)
        )
        self.sample_rate, self.seconds, self.features = found

    features: Callable[[np.ndarray], np.ndarray]

    def logits(
        self,
        frames: Float[np.ndarray, "b t 3 s s"],
        features: Float[np.ndarray, "b t *f"],
        samples: int = 1,
        seed: int = 0,
    ) -> Float[np.ndarray, "1 b t c s s"]:
        """Logits with the latents at their means.

        Raises:
            UserError: For more than one sample: the exported model is deterministic.
        """
        if samples > 1:
            raise UserError(
                "an exported model has no latent samples: use --samples 1, or the model folder"
            )
        # One clip after the other: together they take no less time on a CPU, but more memory.
        clips = [
            self._run(frames[clip : clip + 1], features[clip : clip + 1])
            for clip in range(len(frames))
        ]
        return np.concatenate(clips)[None]

    def _run(
        self, frames: Float[np.ndarray, "1 t 3 s s"], features: Float[np.ndarray, "1 t *f"]
    ) -> Float[np.ndarray, "1 t c s s"]:
        try:
            inputs = dict(zip(self._inputs, (frames, features), strict=True))
            logits: np.ndarray = self._session.run(["logits"], inputs)[0]
        except (
            Exception
        ) as error:  # classes of onnxruntime's own: what it takes is not what it says
            name, reason = show_path(self._path), cut(str(error))
            raise UserError(
                f"{name} does not run on what it says to take ({reason}): export it again"
            ) from error
        wanted = (*frames.shape[:2], *frames.shape[3:])
        right = logits.ndim == 5 and logits.dtype.kind == "f" and 1 <= logits.shape[2] <= 256
        if not right or (*logits.shape[:2], *logits.shape[3:]) != wanted:
            shape = f"{logits.dtype} {logits.shape}"
            raise UserError(
                f"{show_path(self._path)} gives logits {shape} for frames {frames.shape}: export it again"
            )
        return logits


def open_session(path: Path, threads: int | None = None) -> Any:
    """An ONNX file in onnxruntime, on the CPU.

    Args:
        path: The file.
        threads: None = OMP_NUM_THREADS, else as many as there are cores for this process.

    Raises:
        UserError: If the file is missing or is not a model, or onnxruntime is not installed.
    """
    if not path.is_file():
        raise UserError(f"checkpoint not found: {show_path(path)}")
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError as error:
        raise UserError(
            f"{show_path(path)} needs onnxruntime: pip install 'ecmvae[onnx]'"
        ) from error
    options = SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    # Planned blocks of memory would take 50 MB more, and two slow runs to be planned.
    options.enable_mem_pattern = False
    # other threads decode and encode
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise UserError(
            f"{show_path(path)} is not a readable ONNX model: export it again"
        ) from error
    release_free_memory()  # what optimising the graph took
    return session


def graphs_of(folder: Path) -> list[Path]:
    """The exported graphs of a model folder that there are: the one in it, and the one in the cache."""
    return [graph for graph in (folder / GRAPH_FILE, cached_graph(folder)) if graph.is_file()]


def cached_graph(folder: Path) -> Path:
    """Where `--engine onnx` keeps the export of a model: the name changes with its configuration and weights."""
    digest = hashlib.sha256()
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update((folder / file).read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "ecmvae" / "exported" / f"{digest.hexdigest()[:32]}.onnx"


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _description(properties: Mapping[str, str], path: Path) -> dict[str, Any]:
    """What the file says about its model."""
    name = show_path(path)
    if MODEL_KEY in properties:
        description = parse_json(properties[MODEL_KEY], f"the description in {name}")
    elif _CONFIG_KEY in properties:
        config = parse_json(properties[_CONFIG_KEY], f"the configuration in {name}")
        description = {
            **(config.get("data") or {} if isinstance(config, dict) else {}),
            "class_names": parse_json(
                properties.get(_CLASSES_KEY, "[]"), f"the class names in {name}"
            ),
            "normalisation": IMAGENET.to_dict(),
            "front_end": "vggish",
        }
    else:
        raise UserError(
            f"{name} was not written by ecmvae export: the description of its model is missing"
        )
    kinds = {
        "image_size": int,
        "num_frames": int,
        "class_names": list,
        "normalisation": dict,
        "front_end": str,
    }
    for key, kind in kinds.items():
        value = description.get(key) if isinstance(description, dict) else None
        if type(value) is not kind or (isinstance(value, int) and value < 1):
            raise UserError(
                f"{name} says {short(value)} for the {key} of its model: export it again"
            )
    return dict(description)


def _front_end(name: str, path: Path) -> ArrayFrontEnd:
    """The front end of that name: VGGish's, YAMNet's, or that of a registered encoder, which may bring PyTorch."""
    if name in _OFFSETS:
        return ArrayFrontEnd(SAMPLE_RATE, 1.0, partial(log_mel_patch, offset=_OFFSETS[name]))
    from ecmvae.audio import AUDIO_ENCODERS
    from ecmvae.audio.encoder import brings_weights, build_audio_encoder

    for encoder in AUDIO_ENCODERS:
        if brings_weights(encoder):
            continue  # a foundation model's front end depends on its weights
        front_end = build_audio_encoder(encoder).front_end
        if front_end.name == name:
            return _of_tensors(front_end)
    raise UserError(
        f"{show_path(path)} needs the audio front end {short(name)}, which no registered audio encoder has: "
        "register its encoder in AUDIO_ENCODERS, or open the file as OnnxEngine(path, front_end=...)"
    )


def _of_tensors(front_end: Any) -> ArrayFrontEnd:
    """An `AudioFrontEnd`, which takes and gives tensors, on arrays."""
    import torch

    def features(waveforms: np.ndarray) -> np.ndarray:
        found: np.ndarray = front_end(torch.from_numpy(waveforms)).numpy()
        return found

    return ArrayFrontEnd(front_end.sample_rate, front_end.seconds, features)
