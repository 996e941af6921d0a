"""Measure `ecmvae predict`: CPU time a second of video, peak memory against length, drift of sound against picture.

    python tools/measure_predict.py --checkpoint runs/demo --out measured.json

Videos are generated (noise that moves, and every ten seconds a white flash with a beep). Each run is a process of its
own with `--threads` threads, so that its peak memory and CPU time are its own. "startup" is what Python, PyTorch and
the model cost before the first frame.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ecmvae.data.video import VideoWriter, read_clip, stream_frames

BEEP_EVERY, BEEP_SECONDS, RATE = 10.0, 0.1, 16_000


def make_video(path: Path, *, width: int, height: int, fps: int, seconds: int) -> None:
    """Write a video whose flashes and beeps coincide, at 5 s, 15 s, 25 s ..."""
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 200, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    scene = tile.repeat(8, 0).repeat(8, 1)[:height, :width]
    clock = np.arange(seconds * RATE) / RATE
    loud = (clock + BEEP_EVERY / 2) % BEEP_EVERY < BEEP_SECONDS
    sound = (0.5 * np.sin(2 * np.pi * 440 * clock) * loud).astype(np.float32)
    with VideoWriter(path, width=width, height=height, fps=fps, waveform=sound, sample_rate=RATE) as writer:
        for index in range(seconds * fps):
            flash = (index / fps + BEEP_EVERY / 2) % BEEP_EVERY < 0.5 / fps
            writer.write(np.full_like(scene, 255) if flash else np.roll(scene, 2 * index, axis=1))


def drift_ms(path: Path, seconds: int) -> float:
    """Beep minus flash, in milliseconds, at the last flash of a video."""
    start = seconds - BEEP_EVERY
    moments = ((frame.time, frame.rgb()) for frame in stream_frames(path) if frame.time >= start)
    flash = max(moments, key=lambda moment: float(moment[1].mean()))[0]
    clip = read_clip(path, start=start)
    beep = clip.sound_start + float(np.flatnonzero(np.abs(clip.waveform) > 0.1)[0]) / RATE
    return 1000 * (beep - flash)


def measure(source: Path, seconds: int, checkpoint: str, threads: int, fps: float) -> dict[str, float]:
    """Predict one video in a process of its own: wall and CPU seconds, peak memory in MB, drift at the last beep."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "overlay.mp4"
        options = ["--out", str(out), "--checkpoint", checkpoint, "--device", "cpu", "--fps", str(fps)]
        command = [sys.executable, "-m", "ecmvae", "predict", str(source), *options]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        started = time.monotonic()
        process = subprocess.Popen(command, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # this child's own usage; subprocess would drop it
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} left with {process.returncode}")
        elapsed = time.monotonic() - started
        return {
            "wall_seconds": round(elapsed, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_megabytes": round(usage.ru_maxrss / 1000, 1),
            "drift_ms": round(drift_ms(out, seconds) - drift_ms(source, seconds), 2),
        }


def cases(minutes: int) -> Iterator[tuple[str, dict[str, int], float]]:
    """Name, video and key frames a second of every run."""
    yield "startup", {"width": 320, "height": 180, "fps": 2, "seconds": 10}, 0.5
    for name, width, height in [("480p", 854, 480), ("720p", 1280, 720), ("1080p", 1920, 1080)]:
        yield name, {"width": width, "height": height, "fps": 25, "seconds": 20}, 4.0
    for length in (1, minutes):
        yield f"{length} min", {"width": 320, "height": 180, "fps": 2, "seconds": 60 * length}, 0.5


def main() -> None:
    """Run all cases and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=int, default=60, help="length of the long video")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, video, fps in cases(arguments.minutes):
            source = Path(folder) / "source.mp4"
            make_video(source, **video)
            table[name] = video | {"key_frames_a_second": fps}
            table[name] |= measure(source, video["seconds"], arguments.checkpoint, arguments.threads, fps)
            print(name, json.dumps(table[name]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
