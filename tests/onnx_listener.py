"""An exported model whose answer is known, for tests in other processes: bright pixels sound while it is loud.

Written with onnx alone, as `ecmvae export` would: processes that run it need no PyTorch and start quickly.
"""

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIDE, FRAMES, LEVEL = 32, 2, 0.7


def write_listener(path: Path, level: float = LEVEL) -> Path:
    """Logits +8 where the mean of R, G and B is above `level` and the frame's second is not silent, -8 elsewhere."""
    nodes = [
        helper.make_node("ReduceMean", ["frames", "channel"], ["brightness"]),  # (B, T, 1, S, S)
        helper.make_node("Greater", ["brightness", "level"], ["bright"]),
        helper.make_node(
            "ReduceMax", ["audio", "patch"], ["loudest"]
        ),  # (B, T, 1, 1, 1), log(0.01) in silence
        helper.make_node("Greater", ["loudest", "zero"], ["loud"]),
        helper.make_node("And", ["bright", "loud"], ["sounds"]),
        helper.make_node("Where", ["sounds", "yes", "no"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("channel", TensorProto.INT64, [1], [2]),
        helper.make_tensor("patch", TensorProto.INT64, [3], [2, 3, 4]),
        *(
            helper.make_tensor(name, TensorProto.FLOAT, [], [value])
            for name, value in {"level": level, "zero": 0.0, "yes": 8.0, "no": -8.0}.items()
        ),
    ]
    shapes = {
        "frames": ["b", "t", 3, SIDE, SIDE],
        "audio": ["b", "t", 1, 96, 64],
        "logits": ["b", "t", 1, SIDE, SIDE],
    }
    frames, audio, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    graph = helper.make_graph(nodes, "listener", [frames, audio], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    description = {
        "image_size": SIDE,
        "num_frames": FRAMES,
        "class_names": [],
        "normalisation": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        "front_end": "vggish",
    }
    helper.set_model_props(model, {"ecmvae.model": json.dumps(description)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
