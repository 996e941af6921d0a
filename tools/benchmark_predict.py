"""What prediction costs: python tools/benchmark_predict.py [--json FILE] [--against PYTHON].

Three tables; every figure is from a process of its own, and all run in turns, so that a slow minute of the machine hits
all of them:

- engines: CPU milliseconds of a key frame of the packaged model;
- start: CPU seconds and peak memory of commands that should answer at once;
- predict: CPU seconds, wall seconds and peak memory of `ecmvae predict`, beside decoding, converting and encoding.

--against takes the python of another environment, for instance one that holds an older commit, and measures start and
predict there too. Compare ratios of one run on a quiet machine, never seconds of two machines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "docs" / "assets" / "example.mp4"
STARTS = {
    "predict --help": ["predict", "--help"],
    "models": ["models"],
    "doctor": ["doctor"],
    "a mistyped option": ["predict", "a.mp4", "--tresholt", "1"],
    "a missing file": ["predict", "no-such-file.mp4"],
}
_ENGINE = """
import sys, time
from pathlib import Path
import numpy as np
from ecmvae.prediction.engine import open_engine
from ecmvae.prediction.options import PredictorOptions
name, threads = sys.argv[1], int(sys.argv[2])
engine = open_engine(None, "cpu", PredictorOptions(), engine=name)
generator = np.random.default_rng(0)
side, frames = engine.image_size, engine.num_frames
pictures = generator.standard_normal((1, frames, 3, side, side), np.float32)
sound = generator.standard_normal((frames, round(engine.sample_rate * engine.seconds))).astype(np.float32) * 0.1
features = engine.features(sound)[None]
taken = []
for _ in range(6):
    started = time.process_time()
    engine.logits(pictures, features, 1, 0)
    taken.append(time.process_time() - started)
print(1e3 * min(taken[1:]) / frames)
"""
_FLOOR = """
import sys
from pathlib import Path
from ecmvae.data.video import VideoWriter, probe, stream_frames
path = Path(sys.argv[1])
info = probe(path)
size = {"width": info.width, "height": info.height}
with VideoWriter(Path(sys.argv[2]), fps=info.fps, copy_audio_from=info, **size) as writer:
    for frame in stream_frames(path):
        writer.write(frame.rgb())
"""


def run(arguments: list[str], threads: int) -> tuple[dict[str, float], str]:
    """CPU and wall seconds and peak megabytes of a process, and what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=tempfile.gettempdir(),  # not a clone, whose package would be imported instead
        text=True,
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    figures = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / (1 if sys.platform == "linux" else 1024) / 1e3,
    }
    return figures, printed


def best(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The least of each figure: what disturbs a measurement only adds to it."""
    return {name: min(each[name] for each in rounds) for name in rounds[0]}


def measure(repeats: int, threads: int, against: str | None, video: Path) -> dict[str, Any]:
    """All tables."""
    pythons = {"here": sys.executable, **({"there": against} if against else {})}
    engines: dict[str, list[float]] = {"onnx": [], "eager": []}
    tables: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            for name, values in engines.items():
                values.append(
                    float(run([sys.executable, "-c", _ENGINE, name, str(threads)], threads)[1])
                )
            rows = {
                f"{place}: {what}": [python, "-m", "ecmvae", *words]
                for what, words in STARTS.items()
                for place, python in pythons.items()
            }
            out = Path(folder) / f"{number}.mp4"
            rows["here: decode, convert, encode"] = [
                sys.executable,
                "-c",
                _FLOOR,
                str(video),
                f"{out}.floor.mp4",
            ]
            for place, python in pythons.items():
                rows[f"{place}: predict"] = [
                    python,
                    "-m",
                    "ecmvae",
                    "predict",
                    str(video),
                    "--out",
                    f"{out}.{place}.mp4",
                ]
            for name, arguments in rows.items():
                tables.setdefault(name, []).append(run(arguments, threads)[0])
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads",
        "engines_cpu_ms_a_key_frame": {name: min(values) for name, values in engines.items()},
        "ratios": {
            "onnx_to_eager": statistics.median(
                a / b for a, b in zip(*engines.values(), strict=True)
            )
        },
        "processes": {name: best(rounds) for name, rounds in tables.items()},
    }


def main() -> None:
    """Measure and print; --json writes the figures too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--against", help="python of another environment with ecmvae")
    parser.add_argument("--video", type=Path, default=EXAMPLE, help="film to predict")
    args = parser.parse_args()
    figures = measure(args.repeats, args.threads, args.against, args.video.absolute())
    print(figures["machine"])
    for name, value in figures["engines_cpu_ms_a_key_frame"].items():
        print(f"engine {name:34} {value:8.1f} CPU ms a key frame")
    for name, row in figures["processes"].items():
        print(
            f"{name:41} {row['cpu_s']:6.2f} CPU s {row['wall_s']:6.2f} wall s {row['peak_mb']:6.0f} MB"
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
