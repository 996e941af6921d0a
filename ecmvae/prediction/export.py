"""`ecmvae export`: a model as one ONNX file, a torch.export program or safetensors. The only door to ONNX.

The deterministic model (latents at their means) is exported with its audio encoder: frames and audio features in,
logits out, any number of clips and of frames a clip.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio.encoder import window_samples
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.client import sha256_of
from ecmvae.hub.find import default_model
from ecmvae.hub.named_models import GRAPH_FILE, WEIGHTS_FILE
from ecmvae.models import Segmenter
from ecmvae.models.checkpoint import load_model
from ecmvae.prediction.onnx_engine import MODEL_KEY, WEIGHTS_KEY, cached_graph
from ecmvae.prediction.torch_engine import check_model

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)


class DeterministicModel(nn.Module):
    """A model with its audio encoder and with latents at their means: two tensors in, one out."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, frames: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b t *f"]
    ) -> Float[Tensor, "b t k h w"]:
        """Logits of normalised frames and of the audio features around each."""
        return self.model(frames, self.model.encode_audio(audio), latents="mean").logits


def write_export(
    checkpoint: str | None, out: Path, format: str, *, trust_code: bool = False
) -> None:
    """Write a model for other programs; see `ecmvae.prediction.command.export`.

    Raises:
        UserError: When there is no such model, it has no audio encoder, or it contains foundation models.
    """
    model = load_model(default_model() if checkpoint is None else checkpoint, trust_code=trust_code)
    if model.architectures and format != "safetensors":
        raise UserError(
            f"a model with foundation models in it is not exported as {format}: predict from its folder"
        )
    with replacing(out) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's exporter speaks to itself
        if format == "safetensors":
            from safetensors.torch import save_file

            save_file(
                {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, part
            )
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

    onnx.save_model(_onnx_program(model), path)


def export_into_cache(folder: Path, *, trust_code: bool = False) -> Path:
    """Export the model of a folder to where `--engine onnx` finds it from then on.

    Raises:
        UserError: If the model cannot be loaded or has no audio encoder.
    """
    path = cached_graph(folder)
    logger.info("exporting %s once, for onnxruntime", folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    model = load_model(folder, trust_code=trust_code)
    if model.architectures:
        raise UserError(
            "--engine onnx does not run a model with foundation models in it: leave it out"
        )
    with replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        export_onnx(model, part)
    return path


def write_graph(folder: Path) -> Path:
    """Write the graph of a model folder into it: a small file whose weights are those of the folder's safetensors.

    An initializer that is a tensor of the safetensors, in 16 bits or 32, becomes a reference to its bytes there.

    Returns:
        The file.

    Raises:
        UserError: If the model cannot be loaded or has no audio encoder.
    """
    proto = _onnx_program(load_model(folder), fold_weights=False)
    refer_to_weights(proto, folder / WEIGHTS_FILE)
    with replacing(folder / GRAPH_FILE) as part:
        part.write_bytes(proto.SerializeToString())
    return folder / GRAPH_FILE


def refer_to_weights(proto: onnx.ModelProto, weights: Path) -> None:
    """Replace the initializers of a graph that are tensors of a safetensors file beside it, in place."""
    import onnx

    for node in proto.graph.node:
        node.ClearField("metadata_props")  # where in PyTorch's program it comes from
    stored = _stored_tensors(weights)
    referred = []
    for initializer in proto.graph.initializer:
        place = stored.get(_digest(onnx.numpy_helper.to_array(initializer)))
        if place is None:
            continue
        name, kept = initializer.name, onnx.TensorProto()
        kept.CopyFrom(initializer)
        kept.ClearField("raw_data")
        kept.ClearField("float_data")
        kept.data_type = onnx.TensorProto.FLOAT16 if place.half else onnx.TensorProto.FLOAT
        kept.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", weights.name),
            ("offset", place.offset),
            ("length", place.length),
        ):
            entry = kept.external_data.add()
            entry.key, entry.value = key, str(value)
        if place.half:
            kept.name = f"{name}.half"
            proto.graph.node.insert(
                0, onnx.helper.make_node("Cast", [kept.name], [name], to=onnx.TensorProto.FLOAT)
            )
        referred.append((initializer, kept))
    for initializer, kept in referred:
        proto.graph.initializer.remove(initializer)
        proto.graph.initializer.append(kept)
    onnx.helper.set_model_props(proto, {**_properties(proto), WEIGHTS_KEY: sha256_of(weights)})


def _properties(proto: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in proto.metadata_props}


class _Place(NamedTuple):
    """Where the bytes of a tensor lie in a file, and whether they are numbers of 16 bits."""

    offset: int
    length: int
    half: bool


def _stored_tensors(file: Path) -> dict[bytes, _Place]:
    """The tensors of a safetensors file by the digest of their values in 32 bits."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    places = {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if name == "__metadata__" or entry["dtype"] not in ("F16", "F32"):
            continue
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        kind = np.float16 if entry["dtype"] == "F16" else np.float32
        values = np.frombuffer(content[start:end], kind).reshape(entry["shape"])
        places[_digest(values)] = _Place(start, end - start, entry["dtype"] == "F16")
    return places


def _digest(values: np.ndarray) -> bytes:
    shape = repr(values.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(values, np.float32).tobytes()).digest()


def _onnx_program(model: Segmenter, *, fold_weights: bool = True) -> onnx.ModelProto:
    """The deterministic model as an ONNX graph that describes itself.

    Args:
        model: With an audio encoder.
        fold_weights: Fold BatchNorm into the weights; without it, they stay the model's own, and onnxruntime folds them
            when it loads the graph.
    """
    import onnx

    front_end = check_model(model).front_end
    assert front_end is not None
    program = torch.onnx.export(
        _program(model),
        dynamo=True,
        input_names=["frames", "audio"],
        output_names=["logits"],
        verbose=False,
        optimize=fold_weights,
    )
    assert program is not None
    if not fold_weights:
        from onnxscript import optimizer

        optimizer.inline(program.model)
        optimizer.fold_constants(
            program.model,
            onnx_shape_inference=True,
            input_size_limit=1024,
            output_size_limit=4096,
            should_fold=lambda node: (
                False if node.op_type == "Transpose" else None
            ),  # it would copy weights
        )
        optimizer.remove_unused_nodes(program.model)
    proto = program.model_proto
    # the exporter's inner shapes contradict onnx's own inference, which int8 relies on
    del proto.graph.value_info[:]
    description = {
        "image_size": model.image_size,
        "num_frames": model.num_frames,
        "class_names": model.class_names,
        "normalisation": model.normalisation.to_dict(),
        "front_end": front_end.name,
    }
    onnx.helper.set_model_props(proto, {MODEL_KEY: json.dumps(description)})
    onnx.checker.check_model(proto)
    return proto


def quantise_onnx(source: Path, target: Path) -> None:
    """Weights in 8 bits, activations quantised while running; unsigned, as onnxruntime's CPU convolution wants it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)


def _program(model: Segmenter) -> torch.export.ExportedProgram:
    """The deterministic model, traced with 2 clips of 3 frames: 1 would be taken for a constant."""
    front_end = check_model(model).front_end
    assert front_end is not None
    sound = front_end(torch.zeros(6, window_samples(front_end)))
    inputs = (
        torch.zeros(2, 3, 3, model.image_size, model.image_size),
        rearrange(sound, "(b t) ... -> b t ...", b=2),
    )
    free = {0: torch.export.Dim("clips", min=1), 1: torch.export.Dim("frames", min=1)}
    module = copy.deepcopy(DeterministicModel(model).eval())
    # PyTorch 2.11's ONNX exporter fails on a parameter times a number ("Expected same OpOverload packet"): buffers.
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    with torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes={"frames": free, "audio": free})
