"""Read the one kind of pickle that AVSBench ships, a log-mel tensor, without running what a pickle can run.

A pickle names the functions that rebuild its content, so loading one from a stranger is running a stranger's program.
Here only the few names that a plain tensor needs are known, and the storage inside is read by torch's own
weights-only reader.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecmvae.errors import UserError


def load_tensor(path: str | Path) -> Tensor:
    """Read a tensor written by ``pickle.dump`` or ``torch.save``; it is returned detached, on the CPU.

    Raises:
        UserError: If the file is missing, damaged, or holds anything but one plain tensor.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            value = _torch_load(content)
        else:
            value = _TensorUnpickler(io.BytesIO(content)).load()
    except Exception as error:
        # A damaged or hostile pickle can fail in any way; every one means the same to the user.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a pickled plain tensor, refused ({reason})") from error
    if not isinstance(value, Tensor):
        raise UserError(f"{path}: holds a {type(value).__name__}, not a tensor")
    if (
        value.layout != torch.strided
        or value.is_quantized
        or value.is_complex()
        or value.device.type != "cpu"
    ):
        raise UserError(f"{path}: holds a tensor of an unusual kind, not one of plain numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(
            f"{path}: holds a tensor {tuple(value.shape)} that says to be larger than what is stored"
        )
    return value.detach()


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows the names of a tensor's parts and no others."""

    ALLOWED = {  # noqa: RUF012
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): lambda text, _: text.encode(
            "latin-1"
        ),  # by which protocol 2 holds bytes
        ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        # torch's own _load_from_bytes would unpickle anything.
        ("torch.storage", "_load_from_bytes"): lambda content: _torch_load(content),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to data outside itself")


def _torch_load(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
