"""`ecmvae doctor`: what is installed here, what this machine can do, and what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from ecmvae.errors import UserError
from ecmvae.hub.client import cache_folder, is_offline
from ecmvae.hub.named_models import named_models
from ecmvae.provenance import __version__

_PACKAGES = {  # distribution -> what it is needed for
    "torch": "everything",
    "torchvision": "everything",
    "torchaudio": "resampling",
    "timm": "visual backbones",
    "huggingface-hub": "models of the hub",
    "av": "video",
    "opencv-python-headless": "overlays",
    "soundfile": "sound files",
    "jsonargparse": "the command line",
    "lightning": "training",
    "gradio": "ecmvae app",
    "onnxscript": "ecmvae export",
    "onnxruntime": "running exported models",
}
_OPTIONAL = {"lightning": "train", "gradio": "app", "onnxscript": "export", "onnxruntime": "export"}


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
    for package, purpose in _PACKAGES.items():
        try:
            yield f"  {package:24}{version(package)}"
        except PackageNotFoundError:
            if package in _OPTIONAL:
                yield f"  {package:24}not installed: {purpose} needs pip install 'ecmvae[{_OPTIONAL[package]}]'"
            else:
                yield f"  {package:24}MISSING"
                problems.append(f"{package} is not installed ({purpose} needs it): pip install {package}")


def _devices() -> Iterator[str]:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"  CPU                     {usable} core(s), {torch.get_num_threads()} torch thread(s)"
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        yield f"  cuda:{index}                  {torch.cuda.get_device_name(index)}, {memory:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "  mps                     Apple GPU"


def _codecs(problems: list[str]) -> Iterator[str]:
    try:
        from ecmvae.data.video import missing_encoders

        missing = missing_encoders()
    except ImportError:
        return  # named among the packages already
    yield f"  encoders                {'missing ' + ', '.join(missing) if missing else 'H.264, AAC, VP9, Opus'}"
    if missing:
        problems.append(f"this build of PyAV lacks {', '.join(missing)}: install the wheel from PyPI")


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
