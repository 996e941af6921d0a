"""Which engine was measured to be the faster one here, by machine and model: a file in the user's cache folder."""

from __future__ import annotations

import json
import logging
import os
import platform
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ecmvae.files import show_path, write_json
from ecmvae.prediction.onnx_engine import default_threads

logger = logging.getLogger(__name__)

SWITCH = "ECMVAE_CALIBRATION"
"""Environment variable: "off" neither measures nor heeds what was measured."""
_MARGIN = 0.9
"""Of onnxruntime's time; PyTorch needs more memory and a longer start, so it has to be clearly faster."""


def is_on() -> bool:
    """Whether engines may be measured, and what was measured counts."""
    return os.environ.get(SWITCH, "").lower() not in ("0", "false", "no", "off")


def remembered_file() -> Path:
    """Where the figures are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "ecmvae" / "engines.json"


def remembered(model: str) -> str | None:
    """The faster engine for a model on this machine, "onnx" or "eager"; None where it was not measured.

    A damaged file counts as none: its figures are measured again.

    Args:
        model: `OnnxEngine.identity`.
    """
    if not is_on():
        return None
    figures = _read().get(f"{_machine()} | {model}")
    onnx, eager = (
        figures.get(name) if isinstance(figures, dict) else None for name in ("onnx", "eager")
    )
    if not (isinstance(onnx, float) and isinstance(eager, float) and min(onnx, eager) > 0):
        return None
    return "eager" if eager < _MARGIN * onnx else "onnx"


def remember(model: str, figures: dict[str, float]) -> None:
    """Keep the seconds of a key frame in each engine; if the cache folder is read-only, a warning is logged."""
    path = remembered_file()
    try:
        write_json(path, {**_read(), f"{_machine()} | {model}": figures})
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): the engines will be measured again, or set %s=off",
            show_path(path),
            error.strerror or error,
            SWITCH,
        )


def _read() -> dict[str, object]:
    try:
        content = json.loads(remembered_file().read_text("utf-8"))
    except (OSError, ValueError, RecursionError):  # there is none yet, or it is damaged
        return {}
    return content if isinstance(content, dict) else {}


def _machine() -> str:
    """What the figures depend on beside the model: the CPU, the threads, and both libraries' versions."""
    libraries = [f"{name} {version(name)}" for name in ("onnxruntime", "torch") if find_spec(name)]
    return ", ".join([_processor(), f"{default_threads()} threads", *libraries])


@cache
def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
