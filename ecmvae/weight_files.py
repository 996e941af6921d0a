"""Weight files of other people: read without running their code, and spelled in the names timm gives its layers."""

from __future__ import annotations

import _codecs
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

    A dictionary kept under "model" or "state_dict" is unpacked, and numpy arrays become tensors.

    Args:
        path: The file.

    Raises:
        UserError: When the file is missing, truncated, holds code, or holds anything but named tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"weight file not found: {file}")
    try:
        if file.suffix == ".safetensors":
            loaded: Any = load_file(file)
        else:
            with torch.serialization.safe_globals(_NUMPY_PARTS), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy's about its old name, torch's about pickles it will refuse
                loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{file} is not a plain weight file: {_reason(error)}") from error
    return named_tensors(loaded, str(file))


def write_weight_file(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write named tensors as a .safetensors file.

    Raises:
        OSError: When the disk is full or the file cannot be made.
    """
    try:
        save_file(dict(state), path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def named_tensors(loaded: Any, where: str) -> dict[str, Tensor]:
    """The state dict inside what a file held; refuses everything that is no mapping of names to tensors.

    Args:
        loaded: The content.
        where: Its source, for the error message.

    Raises:
        UserError: When it is anything else.
    """
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise UserError(f"{where} is not a plain weight file: it holds a {type(loaded).__name__}, not named tensors")
    arrays = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in loaded.items()
    }
    odd = [str(name) for name, value in arrays.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if odd:
        raise UserError(f"{where} is not a plain weight file: no named tensor at {_some(odd)}")
    return arrays


def compare_keys(where: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Refuse a state dict that is not exactly the wanted one.

    BatchNorm's counters may be missing: files of old PyTorch versions have none, and nothing depends on them.

    Args:
        where: What is loaded, for the error message.
        own: The tensors that are wanted.
        given: The tensors at hand, by the same names.

    Raises:
        UserError: Naming the keys that are missing, unexpected or of another shape.
    """
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    wrong = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "wrong shape": wrong}
    if any(faults.values()):
        told = "; ".join(f"{len(keys)} {fault}: {_some(keys)}" for fault, keys in faults.items() if keys)
        raise UserError(f"{where} does not fit: {told}")


_PVT_RULES = (
    (r"patch_embed1\.", "patch_embed."),
    (r"patch_embed([2-4])\.", lambda m: f"stages_{int(m[1]) - 1}.downsample."),
    (r"block([1-4])\.", lambda m: f"stages_{int(m[1]) - 1}.blocks."),
    (r"norm([1-4])\.", lambda m: f"stages_{int(m[1]) - 1}.norm."),
)


def to_timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Spell a backbone's state dict as timm's feature extractors do.

    Known are the names of PVTv2's authors (pvt_v2_b5.pth), of Swin's authors (swin_base_patch4_window7_224.pth), of
    torchvision (resnet50-19c8e357.pth) and of timm itself. Classifiers and tables that the network computes anew are
    left out.
    """
    swin_original = "layers.0.downsample.reduction.weight" in state
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(("head.", "fc.", "norm.")) or name.endswith(("relative_position_index", "attn_mask")):
            continue
        if swin_original:
            # Swin's authors merge patches at the end of a stage, timm at the start of the next.
            name = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        for pattern, replacement in _PVT_RULES:
            name = re.sub(f"^{pattern}", replacement, name)
        name = re.sub(r"^(layers|stages)\.", r"\1_", name.replace("dwconv.dwconv", "dwconv"))
        renamed[name] = tensor
    return renamed


def _some(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "weights_only" in text or "Weights only" in text:
        unsafe = re.search(r"(?:GLOBAL|global) ([\w.]+)", text)
        return f"it asks to run code{f' ({unsafe[1]})' if unsafe else ''}, which is never done"
    return text[:200] or type(error).__name__
