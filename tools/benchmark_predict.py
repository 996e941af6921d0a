"""What prediction costs: python tools/benchmark_predict.py [--json FILE] [--against PYTHON].

Four tables; every figure is from a process of its own, and all run in turns, so that a slow minute of the machine hits
all of them:

- engines: CPU milliseconds of a key frame of the packaged model;
- start: CPU seconds and peak memory of commands that should answer at once;
- predict: CPU seconds, wall seconds and peak memory of `ecmvae predict`, beside decoding, converting and encoding;
- first mask: CPU and wall seconds from the call of `ecmvae predict` with a clip of ten seconds, which is the video
  played forth and back, until an output is given its first mask, and the peak memory of that run.

The first round is not counted: it compiles Python's modules, as an installation does, into a folder of this run.
Figures are medians; the JSON has the least and the most, too. --against takes the python of another environment, for
instance one that holds an older commit, and measures start and predict there too. Compare ratios of one run on a quiet
machine, never seconds of two machines.
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
ENGINES = ("onnx", "eager")
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
_FORTH_AND_BACK = """
import sys
from itertools import chain
from pathlib import Path
import numpy as np
from ecmvae.data.video import SAMPLE_RATE, SoundReader, probe, stream_frames, write_video
path = Path(sys.argv[1])
frames = [frame.rgb() for frame in stream_frames(path)]
fps = probe(path).fps
with SoundReader(path) as sound:
    waveform = sound.read(0, round(len(frames) / fps * SAMPLE_RATE))
both = chain(frames, frames[::-1])
write_video(Path(sys.argv[2]), both, fps, np.concatenate([waveform, waveform[::-1]]), SAMPLE_RATE)
"""
_FIRST_MASK = """
import os, time
from ecmvae.prediction.writers.base import FrameWriter

class FirstMaskWriter(FrameWriter):
    ending = ".first"

    def open(self):
        self.part.touch()
        self.seen = False

    def write(self, frame, result):
        if not self.seen and result.mask is not None:
            self.seen = True
            print("first mask", time.time() - float(os.environ["STARTED"]), time.process_time(), flush=True)
"""
_Rows = dict[str, list[str]]


def run(
    arguments: list[str], threads: int, folder: Path | None = None
) -> tuple[dict[str, float], str]:
    """CPU and wall seconds and peak megabytes of a process, and what it printed.

    Args:
        arguments: The command.
        threads: Of the model.
        folder: With compiled modules, and on the path of imports.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "STARTED": str(time.time())}
    if folder is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
        path = (str(folder), os.environ.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
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


def until_first_mask(figures: dict[str, float], printed: str) -> dict[str, float]:
    """The same figures, with CPU and wall seconds until the first mask in place of those of the whole run."""
    (line,) = [line for line in printed.splitlines() if line.startswith("first mask ")]
    wall, cpu = line.split()[2:]
    return {**figures, "cpu_s": float(cpu), "wall_s": float(wall)}


def summary(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of each figure."""
    columns = {name: [each[name] for each in rounds] for name in rounds[0]}
    return {
        "median": {name: statistics.median(values) for name, values in columns.items()},
        "least": {name: min(values) for name, values in columns.items()},
        "most": {name: max(values) for name, values in columns.items()},
    }


def commands(pythons: dict[str, str], video: Path, clip: Path, out: str) -> _Rows:
    """Every row's command; `out` begins the names of outputs."""
    rows = {
        f"{place}: {what}": [python, "-m", "ecmvae", *words]
        for what, words in STARTS.items()
        for place, python in pythons.items()
    }
    rows["here: decode, convert, encode"] = [
        sys.executable, "-c", _FLOOR, str(video), f"{out}.floor.mp4"
    ]  # fmt: skip
    for place, python in pythons.items():
        predict = [python, "-m", "ecmvae", "predict"]
        rows[f"{place}: predict"] = [*predict, str(video), "--out", f"{out}.{place}.mp4"]
        for engine in ENGINES:
            first = [str(clip), "--out", f"{out}-{place}-{engine}", "--engine", engine]
            rows[f"{place}: first mask, {engine}"] = [
                *predict, *first, "--also", "first_mask:FirstMaskWriter"
            ]  # fmt: skip
    return rows


def measure(repeats: int, threads: int, against: str | None, video: Path) -> dict[str, Any]:
    """All tables."""
    pythons = {"here": sys.executable, **({"there": against} if against else {})}
    engines: dict[str, list[float]] = {name: [] for name in ENGINES}
    tables: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "first_mask.py").write_text(_FIRST_MASK)
        clip = folder / "clip.mp4"
        run([sys.executable, "-c", _FORTH_AND_BACK, str(video), str(clip)], threads, folder)
        for number in range(repeats + 1):
            for engine, values in engines.items():
                command = [sys.executable, "-c", _ENGINE, engine, str(threads)]
                values.append(float(run(command, threads, folder)[1]))
            for row, command in commands(pythons, video, clip, str(folder / str(number))).items():
                figures, printed = run(command, threads, folder)
                if "first mask" in row:
                    figures = until_first_mask(figures, printed)
                if number:  # the first round compiles
                    tables.setdefault(row, []).append(figures)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads",
        "engines_cpu_ms_a_key_frame": {
            name: statistics.median(values[1:]) for name, values in engines.items()
        },
        "ratios": {
            "onnx_to_eager": statistics.median(
                a / b for a, b in zip(*(values[1:] for values in engines.values()), strict=True)
            )
        },
        "processes": {row: summary(rounds) for row, rounds in tables.items()},
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
    parser.add_argument("--video", type=Path, default=EXAMPLE, help="video to predict")
    args = parser.parse_args()
    figures = measure(args.repeats, args.threads, args.against, args.video.absolute())
    print(figures["machine"])
    for name, value in figures["engines_cpu_ms_a_key_frame"].items():
        print(f"engine {name:34} {value:8.1f} CPU ms a key frame")
    for name, rows in figures["processes"].items():
        row, least, most = rows["median"], rows["least"], rows["most"]
        print(
            f"{name:35} {row['cpu_s']:6.2f} CPU s ({least['cpu_s']:.2f} to {most['cpu_s']:.2f}) "
            f"{row['wall_s']:6.2f} wall s {row['peak_mb']:6.0f} MB"
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
