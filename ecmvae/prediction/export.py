"""`ecmvae export`: a model as one ONNX file, a torch.export program or safetensors. The only door to ONNX.

The deterministic model (latents at their means) is exported with its audio encoder: frames and audio features in,
logits out, any number of clips and of frames a clip.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio import AUDIO_ENCODERS
from ecmvae.audio.encoder import AudioFrontEnd, build_audio_encoder, window_samples
from ecmvae.audio.vggish import VGGishFrontEnd
from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path
from ecmvae.foreign_text import parse_json, short
from ecmvae.hub.find import default_model
from ecmvae.hub.folder import class_names_in
from ecmvae.models import Segmenter
from ecmvae.models.checkpoint import load_model
from ecmvae.prediction.model import check_model
from ecmvae.visual.normalisation import IMAGENET, Normalisation

# Metadata of the ONNX file, as JSON: what prediction needs to know of the model.
_MODEL_KEY = "ecmvae.model"
# Its form before: the configuration and the names of the classes. Those models have VGGish's front end.
_CONFIG_KEY, _CLASSES_KEY = "ecmvae.config", "ecmvae.class_names"


class DeterministicModel(nn.Module):
    """A model with its audio encoder and with latents at their means: two tensors in, one out."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b t *f"]) -> Float[Tensor, "b t k h w"]:
        """Logits of normalised frames and of the audio features around each."""
        return self.model(frames, self.model.encode_audio(audio), latents="mean").logits


def write_export(checkpoint: str | None, out: Path, format: str, *, trust_code: bool = False) -> None:
    """Write a model for other programs; see `ecmvae.prediction.command.export`.

    Raises:
        UserError: When there is no such model, or it has no audio encoder.
    """
    model = load_model(default_model() if checkpoint is None else checkpoint, trust_code=trust_code)
    with replacing(out) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's exporter speaks to itself
        if format == "safetensors":
            from safetensors.torch import save_file

            save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, part)
        elif format == "torch-export":
            torch.export.save(_program(model), part)
        else:
            export_onnx(model, part)
            if format == "onnx-int8":
                quantise_onnx(part, part)


def export_onnx(model: Segmenter, path: Path) -> None:
    """Write the deterministic model as ONNX, with what prediction needs to know of it in the file's metadata.

    Raises:
        UserError: If the model has no audio encoder.
    """
    import onnx

    _, front_end = check_model(model)
    program = torch.onnx.export(
        _program(model), dynamo=True, input_names=["frames", "audio"], output_names=["logits"], verbose=False
    )
    assert program is not None
    proto = program.model_proto
    del proto.graph.value_info[:]  # the exporter's inner shapes contradict onnx's own inference, which int8 relies on
    description = {
        "image_size": model.image_size,
        "num_frames": model.num_frames,
        "class_names": model.class_names,
        "normalisation": model.normalisation.to_dict(),
        "front_end": front_end.name,
    }
    onnx.helper.set_model_props(proto, {_MODEL_KEY: json.dumps(description)})
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def quantise_onnx(source: Path, target: Path) -> None:
    """Weights in 8 bits, activations quantised while running; unsigned, as onnxruntime's CPU convolution wants it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)


class OnnxOutput(NamedTuple):
    """Output of an exported model."""

    logits: Tensor
    """(B, T, K, H, W), K = 1 or the number of classes."""


class OnnxModel:
    """An exported model in onnxruntime: a `ClipModel`.

    Args:
        path: A file written by `export`.
        front_end: Makes the audio features; None = the front end of that name among `AUDIO_ENCODERS`.

    Raises:
        UserError: If the file is missing or was not written by `export`, or its front end is not known.
    """

    def __init__(self, path: Path, front_end: AudioFrontEnd | None = None) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        if not path.is_file():
            raise UserError(f"checkpoint not found: {show_path(path)}")
        options = SessionOptions()
        # onnxruntime reads neither OMP_NUM_THREADS nor torch.set_num_threads.
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise UserError(f"{show_path(path)} is not a readable ONNX model: export it again") from error
        properties = self._session.get_modelmeta().custom_metadata_map
        self._inputs = [each.name for each in self._session.get_inputs()]
        description = _description(properties, path)
        if len(self._inputs) != 2 or "logits" not in [each.name for each in self._session.get_outputs()]:
            raise UserError(f"{show_path(path)} must take frames and sound and give logits: export it again")
        self.image_size: int = description["image_size"]
        self.num_frames: int = description["num_frames"]
        self.class_names = class_names_in(description, show_path(path))
        self.normalisation = Normalisation.from_dict(description["normalisation"])
        self.front_end = front_end or _front_end(description["front_end"], path)

    def encode_audio(self, features: Float[Tensor, "b t *f"]) -> Float[Tensor, "b t *f"]:
        """The features themselves: the exported graph holds the audio encoder."""
        return features

    def __call__(
        self, frames: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b t *f"], *, latents: Literal["mean"] = "mean"
    ) -> OnnxOutput:
        """Logits (B, T, K, H, W) with latents at their means."""
        inputs = dict(zip(self._inputs, (frames.float().numpy(), audio.float().numpy()), strict=True))
        return OnnxOutput(torch.from_numpy(self._session.run(["logits"], inputs)[0]))

    def sample_logits(self, frames: Tensor, audio: Tensor, num_samples: int) -> Tensor:
        """Not possible.

        Raises:
            UserError: Always: the exported model is deterministic.
        """
        raise UserError("an exported model has no latent samples: use --samples 1, or the model folder")


def _description(properties: Mapping[str, str], path: Path) -> dict[str, Any]:
    """What the file says about its model."""
    name = show_path(path)
    if _MODEL_KEY in properties:
        description = parse_json(properties[_MODEL_KEY], f"the description in {name}")
    elif _CONFIG_KEY in properties:
        config = parse_json(properties[_CONFIG_KEY], f"the configuration in {name}")
        description = {
            **(config.get("data") or {} if isinstance(config, dict) else {}),
            "class_names": parse_json(properties.get(_CLASSES_KEY, "[]"), f"the class names in {name}"),
            "normalisation": IMAGENET.to_dict(),
            "front_end": VGGishFrontEnd.name,
        }
    else:
        raise UserError(f"{name} was not written by ecmvae export: the description of its model is missing")
    kinds = {"image_size": int, "num_frames": int, "class_names": list, "normalisation": dict, "front_end": str}
    for key, kind in kinds.items():
        value = description.get(key) if isinstance(description, dict) else None
        if type(value) is not kind or (isinstance(value, int) and value < 1):
            raise UserError(f"{name} says {short(value)} for the {key} of its model: export it again")
    return dict(description)


def _front_end(name: str, path: Path) -> AudioFrontEnd:
    """The front end of that name, of one of the registered audio encoders."""
    if name == VGGishFrontEnd.name:
        return VGGishFrontEnd()
    for encoder in AUDIO_ENCODERS:
        front_end: AudioFrontEnd = build_audio_encoder(encoder).front_end
        if front_end.name == name:
            return front_end
    raise UserError(
        f"{show_path(path)} needs the audio front end {short(name)}, which no registered audio encoder has: "
        "register its encoder in AUDIO_ENCODERS, or open the file as OnnxModel(path, front_end=...)"
    )


def _program(model: Segmenter) -> torch.export.ExportedProgram:
    """The deterministic model, traced with 2 clips of 3 frames: 1 would be taken for a constant."""
    _, front_end = check_model(model)
    sound = front_end(torch.zeros(6, window_samples(front_end)))
    inputs = torch.zeros(2, 3, 3, model.image_size, model.image_size), rearrange(sound, "(b t) ... -> b t ...", b=2)
    free = {0: torch.export.Dim("clips", min=1), 1: torch.export.Dim("frames", min=1)}
    module = copy.deepcopy(DeterministicModel(model).eval())
    # PyTorch 2.11's ONNX exporter fails on a parameter times a number ("Expected same OpOverload packet"): buffers.
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    with torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes={"frames": free, "audio": free})
