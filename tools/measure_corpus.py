"""Measure what a corpus costs: CPU seconds a minute of 480p video, masks as Parquet, in one process and in several.

    python tools/measure_corpus.py --repeats 2

The packaged example, scaled to 854x480 at 25 fps and repeated, is predicted by `ecmvae predict --shard i/n --manifest`,
each shard in a process of its own with one thread. CPU seconds are those of all threads, x264's and FFmpeg's too; those
of starting a process and loading the model are measured on their own, with clips of a fifth of a second, and taken off.
CPU seconds are worth something on a busy machine, too; wall time is not, and is not shown.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from ecmvae.data.video import probe, read_clip, write_video

EXAMPLE = Path(__file__).parents[1] / "docs" / "assets" / "example.mp4"
FPS, VIDEOS = 25, 2


def make_video(path: Path, size: tuple[int, int], seconds: float) -> None:
    """The example, over and over, with its own sound: a cow that moos beside a silent sheep."""
    clip = read_clip(EXAMPLE)
    count = round(seconds * FPS)
    order = (
        np.arange(count)
        * len(clip.frames)
        // round(len(clip.frames) / float(probe(EXAMPLE).fps) * FPS)
    )
    frames = (
        np.asarray(
            Image.fromarray(clip.frames[index % len(clip.frames)]).resize(
                size, Image.Resampling.BILINEAR
            )
        )
        for index in order
    )
    wave = np.resize(clip.waveform, round(seconds * 16_000))
    write_video(path, frames, FPS, wave, 16_000)


def run(sources: Path, out: Path, fps: float, processes: int) -> float:
    """CPU seconds of all shards together, which run at the same time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "ecmvae",
        "predict",
        str(sources),
        "--out",
        str(out),
        "--fps",
        str(fps),
    ]
    command += ["--overlay", "false", "--parquet", "--manifest", str(out / "manifest.jsonl")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    shards = [
        subprocess.Popen(
            [*command, "--shard", f"{k + 1}/{processes}"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for k in range(processes)
    ]
    codes = [shard.wait() for shard in shards]
    if any(codes):
        raise SystemExit("ecmvae predict failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each setting."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=int, default=20, help="of each of the two videos (20)")
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--fps", type=float, nargs="+", default=[4.0, 1.0])
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    given = options.parse_args()
    minutes = VIDEOS * given.seconds / 60
    with tempfile.TemporaryDirectory() as name:
        folders = {kind: Path(name) / kind for kind in ("short", "long")}
        for kind, folder in folders.items():
            folder.mkdir()
            for number in range(VIDEOS):
                seconds = 0.2 if kind == "short" else given.seconds
                make_video(
                    folder / f"{number}.mp4", (64, 36) if kind == "short" else (854, 480), seconds
                )
        found: dict[tuple[float, int], list[tuple[float, float]]] = {}
        # in turns, so that what else runs here disturbs all alike
        for repeat in range(given.repeats):
            for case in product(given.fps, given.processes):
                out = Path(name) / f"{repeat}-{case}"
                short, long = (run(folders[kind], out / kind, *case) for kind in folders)
                found.setdefault(case, []).append(((long - short) / minutes, short / case[1]))
                print(f"{case}: {long:.1f} s, short {short:.1f} s", file=sys.stderr, flush=True)
        print(
            "| key frames a second | processes | CPU seconds a minute of video | CPU seconds to start a process |"
        )
        print("|---|---|---|---|")
        for (fps, processes), values in found.items():
            work, start = zip(*values, strict=True)
            each = ", ".join(f"{value:.1f}" for value in work)
            print(f"| {fps:g} | {processes} | {each} | {statistics.median(start):.1f} |")


if __name__ == "__main__":
    main()
