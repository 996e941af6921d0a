"""`ecmvae export`: a model as one ONNX file, a torch.export program or safetensors. The only door to ONNX.

What is exported is the deterministic model (latents at their means) with its audio encoder: frames and log-mel patches
in, logits out, any number of clips and of frames a clip.
"""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.config import config_from_dict
from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path
from ecmvae.hub.default_model import default_model
from ecmvae.models import Segmenter
from ecmvae.models.checkpoint import load_model

_CONFIG_KEY = "ecmvae.config"  # metadata of the ONNX file: the model's configuration as JSON
_CLASSES_KEY = "ecmvae.class_names"  # likewise: the names of its classes


class DeterministicModel(nn.Module):
    """A model with its audio encoder and with latents at their means: two tensors in, one out."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, frames: Float[Tensor, "b t 3 h w"], log_mel: Float[Tensor, "b t 1 96 64"]
    ) -> Float[Tensor, "b t k h w"]:
        """Logits of ImageNet-normalised frames and of the log-mel patch around each."""
        logits: Tensor = self.model(frames, self.model.encode_audio(log_mel), latents="mean").logits
        return logits


def write_export(checkpoint: str | None, out: Path, format: str) -> None:
    """Write a model for other programs; see `ecmvae.prediction.command.export`.

    Raises:
        UserError: When there is no such model, or it has no audio encoder.
    """
    model = load_model(default_model() if checkpoint is None else checkpoint)
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
    """Write the deterministic model as ONNX; its configuration travels in the file's metadata.

    Raises:
        UserError: When the model has no audio encoder.
    """
    if model.audio_encoder is None:
        raise UserError("this model has no audio encoder, and an export needs one: name a checkpoint that holds it")
    import onnx

    program = torch.onnx.export(
        _program(model), dynamo=True, input_names=["frames", "log_mel"], output_names=["logits"], verbose=False
    )
    assert program is not None
    assert model.config is not None
    proto = program.model_proto
    del proto.graph.value_info[:]  # the exporter's inner shapes contradict onnx's own inference, which int8 relies on
    told = {_CONFIG_KEY: model.config.to_dict(), _CLASSES_KEY: model.class_names}
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in told.items()})
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def quantise_onnx(source: Path, target: Path) -> None:
    """Weights in 8 bits, activations quantised while running; unsigned, as onnxruntime's CPU convolution wants it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)


class OnnxModel:
    """An exported model in onnxruntime, with as much of `Segmenter`'s interface as prediction needs."""

    def __init__(self, path: Path) -> None:
        """Open a file written by `export`.

        Raises:
            UserError: When it is missing or was not written by `export`.
        """
        from onnxruntime import InferenceSession, SessionOptions

        if not path.is_file():
            raise UserError(f"checkpoint not found: {show_path(path)}")
        options = SessionOptions()
        # onnxruntime looks neither at OMP_NUM_THREADS nor at torch.set_num_threads.
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise UserError(f"{show_path(path)} is no ONNX model that onnxruntime reads: export it again") from error
        properties = self._session.get_modelmeta().custom_metadata_map
        if _CONFIG_KEY not in properties:
            raise UserError(f"{show_path(path)} was not written by ecmvae export: its configuration is missing")
        self.config = config_from_dict(json.loads(properties[_CONFIG_KEY]))
        self.class_names = tuple(json.loads(properties.get(_CLASSES_KEY, "[]")))
        self.image_size, self.num_frames = self.config.data.image_size, self.config.data.num_frames

    def encode_audio(self, log_mel: Float[Tensor, "b t 1 96 64"]) -> Float[Tensor, "b t 1 96 64"]:
        """The patches themselves: the exported graph holds the audio encoder."""
        return log_mel

    def __call__(
        self, frames: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b t 1 96 64"], latents: str = "mean"
    ) -> OnnxOutput:
        """Logits (B, T, K, H, W) with latents at their means."""
        inputs = {"frames": frames.float().numpy(), "log_mel": audio.float().numpy()}
        return OnnxOutput(torch.from_numpy(self._session.run(["logits"], inputs)[0]))

    def sample_logits(self, frames: Tensor, audio: Tensor, num_samples: int) -> Tensor:
        """Not possible.

        Raises:
            UserError: Always: the exported model is deterministic.
        """
        raise UserError("an exported model has no latent samples: use --samples 1, or the model folder")


@dataclass(frozen=True)
class OnnxOutput:
    """Like `SegmentationOutput`, as far as prediction looks at it.

    Attributes:
        logits: (B, T, K, H, W), K = 1 or the number of classes.
    """

    logits: Tensor


def example_inputs(side: int) -> tuple[Tensor, Tensor]:
    """Frames (2, 3, 3, S, S) and log-mel patches (2, 3, 1, 96, 64) to trace with; neither 1, which would be special."""
    return torch.zeros(2, 3, 3, side, side), torch.zeros(2, 3, 1, 96, 64)


def _program(model: Segmenter) -> torch.export.ExportedProgram:
    clips, frames = torch.export.Dim("clips", min=1), torch.export.Dim("frames", min=1)
    shapes = {"frames": {0: clips, 1: frames}, "log_mel": {0: clips, 1: frames}}
    constant = _with_constants(DeterministicModel(model).eval())
    with torch.no_grad():
        return torch.export.export(constant, example_inputs(model.image_size), dynamic_shapes=shapes)


def _with_constants(module: nn.Module) -> nn.Module:
    """A copy whose parameters are buffers.

    PyTorch 2.11's ONNX exporter fails on a parameter times a number ("Expected same OpOverload packet").
    """
    copied = copy.deepcopy(module)
    for part in copied.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    return copied
