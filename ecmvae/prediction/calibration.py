"""Choosing an engine by measurement: both run one clip of noise, once per machine and model.

PyTorch takes seconds to be imported and 0.8 GB, so this happens in a process of its own, and only before work that is
long enough to make up for it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from ecmvae.data.video import probe
from ecmvae.errors import UserError
from ecmvae.foreign_text import cut
from ecmvae.hub.find import default_model, find_model_folder
from ecmvae.prediction.engine import open_engine
from ecmvae.prediction.onnx_engine import OnnxEngine
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.remembered_engines import SWITCH, is_on, remember, remembered

logger = logging.getLogger(__name__)

PAYS = 600.0
"""Seconds of video from which on measuring, some ten seconds, is a small part of the work."""
_MOST_FILES = 100  # that are opened
_ROUNDS = 3
_PATIENCE = 300.0  # seconds


def load_calibrated(
    checkpoint: str | None, load: Callable[[], VideoPredictor], videos: Iterable[Path]
) -> VideoPredictor:
    """A predictor with the faster engine, which is measured if that is not known and pays.

    Args:
        checkpoint: The model, as `load` takes it.
        load: Loads the predictor, with the engine that is remembered, else onnxruntime where the model was exported.
        videos: What will be predicted.
    """
    predictor = load()
    engine = predictor.engine
    if not isinstance(engine, OnnxEngine) or not is_on() or find_spec("torch") is None:
        return predictor
    if str(checkpoint).endswith(".onnx") or remembered(engine.identity) or not pays(videos):
        return predictor
    folder = default_model() if checkpoint is None else find_model_folder(checkpoint)
    figures = measured(folder)
    if figures is None:
        return predictor
    remember(engine.identity, figures)
    print(
        f"--engine auto: {1e3 * figures['onnx']:.0f} ms a key frame with onnxruntime, "
        f"{1e3 * figures['eager']:.0f} ms with PyTorch (measured once; {SWITCH}=off does not)"
    )
    return predictor if remembered(engine.identity) != "eager" else load()


def pays(videos: Iterable[Path]) -> bool:
    """Whether the videos declare at least `PAYS` seconds together; of many files the first ones are opened."""
    total = 0.0
    for path in islice(videos, _MOST_FILES):
        with suppress(UserError):  # which is said when it is this file's turn
            total += probe(path).duration or 0.0
        if total >= PAYS:
            return True
    return False


def measured(folder: Path) -> dict[str, float] | None:
    """Seconds of a key frame in each engine, "onnx" and "eager", from a process of its own.

    None, with a line in the log, where that process fails.
    """
    command = [sys.executable, "-m", "ecmvae.prediction.calibration", str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return {name: float(found[name]) for name in ("onnx", "eager")}
    except (subprocess.SubprocessError, OSError, ValueError, LookupError) as error:
        told = getattr(error, "stderr", None) or str(error)
        reason = cut(str(told).strip().splitlines()[-1]) if str(told).strip() else "no reason"
        logger.warning("PyTorch was not measured (%s): onnxruntime runs the model", reason)
        return None


def measure(folder: Path) -> dict[str, float]:
    """The same in this process: wall seconds, the least of some rounds in turns, after one that warms up."""
    engines = {
        name: open_engine(folder, "cpu", PredictorOptions(), engine=name)
        for name in ("onnx", "eager")
    }
    first = engines["onnx"]
    noise = np.random.default_rng(0)
    shape = (1, first.num_frames, 3, first.image_size, first.image_size)
    frames = noise.standard_normal(shape, np.float32)
    length = round(first.sample_rate * first.seconds)
    sound = noise.standard_normal((first.num_frames, length), np.float32) * np.float32(0.1)
    features = first.features(sound)[None]
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS + 1):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.logits(frames, features, 1, 0)
            taken[name].append((time.perf_counter() - started) / first.num_frames)
    return {name: min(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
