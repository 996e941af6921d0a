"""Weight files of other people, read without running their code."""

from __future__ import annotations

import _codecs
import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ecmvae.errors import UserError

# What a pickled numpy array consists of: the released PCA file holds two. None of it can do more than make an array.
_REBUILD: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]  # its stub says str
_NUMPY_PARTS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_REBUILD, "numpy.core.multiarray._reconstruct"),
    (_REBUILD, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
    _codecs.encode,
]
_WRAPPERS = ("model", "state_dict")


def read_weight_file(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a .safetensors file or of a file made by ``torch.save``; no code of it is run.

    A dictionary kept under "model" or "state_dict" is unpacked, and numpy arrays become tensors. A file whose name says
    the beginning of its SHA-256, as torchvision's and VGGish's do (resnet50-19c8e357.pth), must have that hash.

    Args:
        path: The file.

    Raises:
        UserError: If the file is missing, truncated, not the one that its name promises, holds code, or holds anything
            but named tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"weight file not found: {file}")
    check_named_hash(file)
    try:
        if file.suffix == ".safetensors":
            loaded: Any = load_file(file)
        else:
            with torch.serialization.safe_globals(_NUMPY_PARTS), warnings.catch_warnings():
                # numpy's about its old name, torch's about pickles it will refuse
                warnings.simplefilter("ignore")
                loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{file} is not a plain weight file: {_reason(error)}") from error
    return named_tensors(loaded, str(file))


def check_named_hash(file: Path) -> None:
    """Hold a file against the beginning of its SHA-256 in its name, ``name-xxxxxxxx.pth``; other names are let pass.

    Raises:
        UserError: If it is another file.
    """
    named = re.fullmatch(r".*-([0-9a-f]{8,64})\.(?:pth|pt)", file.name)
    if named is None:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(named[1]):
        raise UserError(
            f"{file} is not the file of that name: its SHA-256 begins with {found[:8]}, not {named[1]}: fetch it "
            "again, or give another file another name"
        )


def write_weight_file(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write named tensors as a .safetensors file.

    Raises:
        OSError: If the disk is full or the file cannot be made.
    """
    try:
        save_file(dict(state), path)
        Path(path).chmod(0o644)  # safetensors restricts its files to their owner
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def named_tensors(loaded: Any, where: str) -> dict[str, Tensor]:
    """The state dict inside what a file held; `where` is its source, for the error message.

    Raises:
        UserError: If it is anything but a mapping of names to tensors.
    """
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise UserError(
            f"{where} is not a plain weight file: it holds a {type(loaded).__name__}, not named tensors"
        )
    arrays = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in loaded.items()
    }
    odd = [
        str(name)
        for name, value in arrays.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if odd:
        raise UserError(f"{where} is not a plain weight file: no named tensor at {_some(odd)}")
    return arrays


def differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """How a state dict differs from the wanted one in names and shapes; empty if it does not.

    BatchNorm's counters may be missing: files of old PyTorch versions have none, and nothing depends on them.
    """
    faults = {
        "missing": [
            key for key in own if key not in given and not key.endswith("num_batches_tracked")
        ],
        "unexpected": [key for key in given if key not in own],
        "wrong shape": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in given and given[key].shape != own[key].shape
        ],
    }
    return "; ".join(
        f"{len(keys)} {fault}: {_some(keys)}" for fault, keys in faults.items() if keys
    )


def compare_keys(where: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Refuse a state dict that is not the wanted one; `where` is its source, for the error message.

    Raises:
        UserError: Naming the keys that are missing, unexpected or of another shape.
    """
    if faults := differences(own, given):
        raise UserError(f"{where} does not fit: {faults}")


def _some(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "weights_only" in text or "Weights only" in text:
        unsafe = re.search(r"(?:GLOBAL|global) ([\w.]+)", text)
        return f"it asks to run code{f' ({unsafe[1]})' if unsafe else ''}, which is never done"
    return text[:200] or type(error).__name__
