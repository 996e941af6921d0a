"""Hostile content: values that do not belong, pickles that would run a program, headers and metadata that lie."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        "",
        5,
        -1,
        0,
        -5,
        10**18,
        2**63,
        2**70,
        1e308,
        float("nan"),
        float("inf"),
        "five",
        [],
        {},
    ),
    *("\x1b[31mred", "x" * 100_000, "../../etc/passwd", "/dev/zero", "os:system", "a\0b"),
    *([[[]]], {"a": {"b": None}}, [0] * 10_000, ["\x1b]0;t\x07"]),
)
"""What a value of a settings, metadata or checkpoint file is replaced by."""

LAUGHS = (
    "a: &a [" + "x, " * 9 + "x]\n"
    + "".join(f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
)  # fmt: skip
"""600 bytes of YAML that name 400 million values."""

TEXTS: tuple[bytes, ...] = (
    *(
        b"",
        b"\0",
        b"\xff\xfe\0\0",
        b"5",
        b"[]",
        b"null",
        b"{",
        b"\x1b[31m",
        b"a: *a",
        b"[" * 100_000,
    ),
    *(
        b"{a: " * 3000 + b"1" + b"}" * 3000,
        LAUGHS.encode(),
        b"epochs: " + b"9" * 5000,
        b"#" * 2_000_000,
    ),
    *(b"!!python/object/apply:os.system ['touch executed']", b'{"a": ' * 60 + b"1" + b"}" * 60),
    *(
        b"a,b\n1,2\n",
        b"name\n../../x\n",
        b'"' * 5000,
        ("\u202e" * 50).encode(),
        b"train: {name: 2001-99-99}",
    ),
)
"""What a text file is replaced by."""


class Payload:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, marker: Path, way: int) -> None:
        self._marker, self._way = str(marker), way

    def __reduce__(self) -> tuple[Any, ...]:
        ways = (
            (open, (self._marker, "w")),
            (os.system, (f"touch {self._marker}",)),
            (eval, (f"open({self._marker!r}, 'w')",)),
            (exec, (f"open({self._marker!r}, 'w')",)),
            (Path(self._marker).touch, ()),
        )
        return ways[self._way % len(ways)]


def payload(marker: Path, rng: random.Random) -> bytes:
    """A file as pickle, torch.save or numpy write it, whose content creates the file `marker` when it is loaded."""
    thing: Any = Payload(marker, rng.randrange(5))
    thing = rng.choice((thing, [thing], {"state_dict": thing}, {"model": {"weight": thing}}))
    form = rng.choice(("pickle", "zip", "legacy", "protocol 0", "npz"))
    stream = io.BytesIO()
    if form in ("zip", "legacy"):
        torch.save(thing, stream, _use_new_zipfile_serialization=form == "zip")
    elif form == "npz":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("weight.npy", b"\x93NUMPY\x01\x00F\x00{'descr': '|O', 'fortran_order': False, "
                             b"'shape': (1,), }          \n" + pickle.dumps(thing))  # fmt: skip
    else:
        stream.write(pickle.dumps(thing, protocol=0 if form == "protocol 0" else 4))
    return stream.getvalue()


def safetensors(rng: random.Random) -> bytes:
    """A safetensors file whose header lies."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    headers: tuple[Any, ...] = (
        {"a": {**entry, "shape": [2**40]}},
        {"a": {**entry, "shape": [-2]}},
        {"a": {**entry, "data_offsets": [0, 2**62]}},
        {"a": {**entry, "data_offsets": [8, 0]}},
        {"a": {**entry, "dtype": "F99"}},
        {"a": entry, "b": entry},
        {"\x1b[31mred": entry},
        {f"k{number}": {**entry, "shape": [0], "data_offsets": [0, 0]} for number in range(20_000)},
        {"a": {**entry, "shape": [0] * 1000, "data_offsets": [0, 0]}},
        {"a": entry, "__metadata__": {"x": 5}},
        [entry], 5, {}, {"a": None},
    )  # fmt: skip
    text = json.dumps(rng.choice(headers)).encode()
    if rng.random() < 0.2:
        text = rng.choice((b"[" * 100_000, b"\xff" * 50, b"{" + b" " * 2_000_000 + b"}"))
    length = rng.choice((len(text),) * 6 + (0, 2**63, 2**64 - 1, 90_000_000, len(text) + 1))
    return struct.pack("<Q", length) + text + bytes(8)


def changed(value: Any, rng: random.Random, times: int = 1) -> tuple[Any, str]:
    """A nested value in which a few parts are replaced, left out or added; and what was done."""
    done = []
    for _ in range(times):
        places = list(_places(value))
        if not places:
            return rng.choice(ODD_VALUES), "all"
        holder, key = rng.choice(places)
        how = rng.random()
        if how < 0.15 and isinstance(holder, dict):
            del holder[key]
            done.append(f"without {key}")
        elif how < 0.25 and isinstance(holder, dict):
            holder[f"{key}_x"] = holder[key]
            done.append(f"{key}_x added")
        else:
            old = holder[key]
            holder[key] = (
                _odd_tensor(old, rng) if isinstance(old, torch.Tensor) else rng.choice(ODD_VALUES)
            )
            done.append(f"{key} = {repr(holder[key])[:40]}")
    return value, "; ".join(done)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a nested value, shallow ones more often than deep ones."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 20)):
            inner = list(_places(value[key]))
            yield from ((value, key) for _ in range(1 + len(inner) // 4))
            yield from inner


def _odd_tensor(tensor: torch.Tensor, rng: random.Random) -> Any:
    flat = torch.zeros(1)
    ways = (
        None, 5, [], "tensor", flat, torch.zeros(0), tensor.double() if tensor.is_floating_point() else flat.half(),
        torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else flat, tensor.reshape(-1)[:1],
        flat.expand(1, 1, 96, 64).expand(400_000, 1, 96, 64), torch.zeros(2, dtype=torch.complex64),
        torch.sparse_coo_tensor(torch.tensor([[10**9]]), torch.ones(1), (10**10,)),
    )  # fmt: skip
    return rng.choice(ways)


def stored(value: Any) -> bytes:
    """A value as torch.save writes it."""
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def log_mel(rng: random.Random) -> bytes:
    """Pickled log-mel patches of odd strides, shapes and kinds, as `pickle.dump` writes tensors."""
    patches = torch.zeros(5, 1, 96, 64)
    views: tuple[Any, ...] = (
        torch.zeros(1).expand(1, 1, 96, 64).expand(400_000, 1, 96, 64),
        torch.zeros(1).as_strided((10**9, 1, 96, 64), (0, 0, 0, 0)),
        patches.half(), patches.double(), patches.to(torch.complex64), patches.long(), patches.bool(), patches[:0],
        patches[..., :0], patches * float("nan"), patches.to_sparse(), patches[0], patches.transpose(2, 3),
        torch.quantize_per_tensor(patches, 0.1, 0, torch.quint8), [patches], {"a": patches}, 5, None,
    )  # fmt: skip
    value = rng.choice(views)
    return stored(value) if rng.random() < 0.3 else pickle.dumps(value, protocol=rng.choice((2, 4)))


def onnx_model(properties: dict[str, str], rng: random.Random, honest: bool = False) -> bytes:
    """A tiny ONNX model that takes pictures and sound and gives logits, with these properties.

    Unless `honest`, it sometimes has other inputs, types or sizes than it says.
    """
    from onnx import TensorProto, helper

    side = 32 if honest else rng.choice((32, 32, 32, 33, 0))
    kind = (
        TensorProto.FLOAT
        if honest or rng.random() < 0.7
        else rng.choice((TensorProto.INT64, TensorProto.STRING))
    )
    frames = helper.make_tensor_value_info("frames", kind, ["b", "t", 3, "s", "s"])
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["b", "t", 1, 96, 64])
    inputs = (
        [frames, audio]
        if honest
        else rng.choice(([frames, audio], [frames, audio], [frames], [audio, frames]))
    )
    name = "logits" if honest else rng.choice(("logits", "logits", "logits", "other"))
    logits = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    shape = (
        [1, 1, 1, side, side]
        if honest
        else rng.choice(([1, 1, 1, side, side], [1], [1, 5, 0, 2, 2]))
    )
    size = 1
    for each in shape:
        size *= each
    value = helper.make_tensor("value", TensorProto.FLOAT, shape, [0.0] * size)
    nodes = [helper.make_node("Constant", [], [name], value=value)]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, [logits]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString()
    return content
