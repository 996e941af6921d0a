"""`ecmvae doctor`: what is installed here, what this machine can do, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.hub.client import cache_folder, is_offline
from ecmvae.hub.named_models import named_models
from ecmvae.provenance import __version__

_PACKAGES = {  # distribution -> what it is needed for, and the extra that brings it; "" = every installation has it
    "av": ("video", ""),
    "opencv-python-headless": ("overlays", ""),
    "jsonargparse": ("the command line", ""),
    "huggingface-hub": ("models of the hub", ""),
    "onnxruntime": ("prediction without PyTorch, and the fastest on a CPU", "onnx"),
    "torch": ("training, evaluation, and prediction on a GPU", "torch"),
    "torchvision": ("visual backbones", "torch"),
    "torchaudio": ("resampling", "torch"),
    "timm": ("visual backbones", "torch"),
    "soundfile": ("sound files", "torch"),
    "lightning": ("training", "train"),
    "transformers": ("foundation models", "foundation"),
    "gradio": ("ecmvae app", "app"),
    "onnxscript": ("ecmvae export", "export"),
}
_USEFUL_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Of a CPU: instructions that engines make use of."""


def doctor() -> int:
    """Show versions, devices, codecs and models, and name what is missing.

    Returns:
        0 when prediction can run, else 1.
    """
    problems: list[str] = []
    for line in [*_versions(problems), *_devices(), *_codecs(problems), *_models(problems)]:
        print(line)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print("something is missing" if problems else "all good")
    return 1 if problems else 0


def _versions(problems: list[str]) -> Iterator[str]:
    yield f"ecmvae {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    missing = set()
    for package, (purpose, extra) in _PACKAGES.items():
        try:
            yield f"  {package:24}{version(package)}"
        except PackageNotFoundError:
            missing.add(package)
            if extra:
                yield f"  {package:24}not installed: pip install 'ecmvae[{extra}]' for {purpose}"
            else:
                yield f"  {package:24}MISSING"
                problems.append(
                    f"{package} is not installed ({purpose} needs it): pip install {package}"
                )
    if {"onnxruntime", "torch"} <= missing:
        problems.append(
            "nothing runs a model here: pip install 'ecmvae[onnx]' to predict, 'ecmvae[train]' to train"
        )


def _devices() -> Iterator[str]:
    """Looked up without PyTorch, which takes seconds to import."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    flags = set(
        re.findall(
            r"[\w]+",
            next((line for line in cpu.splitlines() if line.startswith(("flags", "Features"))), ""),
        )
    )
    found = [flag for flag in _USEFUL_FLAGS if flag in flags]
    yield f"  CPU                     {usable} core(s){', ' + ' '.join(found) if found else ''}"
    for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model = re.search(r"Model:\s*(.+)", card.read_text())
        yield f"  GPU                     {model[1] if model else card.parent.name}"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield "  mps                     Apple GPU"


def _codecs(problems: list[str]) -> Iterator[str]:
    try:
        from ecmvae.data.video import missing_encoders

        missing = missing_encoders()
    except ImportError:
        return  # named among the packages already
    yield f"  encoders                {'missing ' + ', '.join(missing) if missing else 'H.264, AAC, VP9, Opus'}"
    if missing:
        problems.append(
            f"this build of PyAV lacks {', '.join(missing)}: install the wheel from PyPI"
        )


def _models(problems: list[str]) -> Iterator[str]:
    from ecmvae.hub.find import default_model

    yield f"  hub cache               {cache_folder()}{' (offline)' if is_offline() else ''}"
    for model in named_models().values():
        where, reason = model.state()
        yield f"  model {model.name:18}{where}, {model.size / 1e6:.1f} MB, {model.licence}"
        if where == "damaged":
            problems.append(reason)
    try:
        yield f"  default model           {default_model()}"
    except UserError as error:
        yield f"  default model           none ({error})"
