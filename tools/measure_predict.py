"""Measure `ecmvae predict`: seconds of work a second of video, peak memory against length, drift of sound and picture.

    python tools/measure_predict.py --checkpoint runs/demo --out measured.json

Videos are generated (noise that moves, and every ten seconds a white flash with a beep). All runs are in one process,
the short and the long small video first: the peak memory after each run shows what its length costs. Wall time is
only worth something on an idle machine; CPU time counts all threads, x264's too.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ecmvae.data.video import VideoWriter, read_clip, stream_frames
from ecmvae.inference.options import PredictorOptions
from ecmvae.inference.predictor import VideoPredictor
from ecmvae.inference.saving import write_outputs

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


def measure(source: Path, seconds: int, predictor: VideoPredictor) -> dict[str, float]:
    """Predict one video and write its overlay: seconds of work, peak memory so far, drift at the last beep."""
    out = source.with_suffix(".overlay.mp4")
    wall, cpu = time.monotonic(), time.process_time()
    write_outputs(predictor.stream(source), source, {"overlay": out})
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return {
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_seconds_a_second": round(cpu / seconds, 3),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
        "drift_ms": round(drift_ms(out, seconds) - drift_ms(source, seconds), 2),
    }


def main() -> None:
    """Run all cases and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=int, default=60, help="length of the long video")
    parser.add_argument("--only", nargs="*", help="names of the cases to run, such as 720p")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    small = {"width": 320, "height": 180, "fps": 2}
    cases = [(f"{minutes} min", small | {"seconds": 60 * minutes}, 0.5) for minutes in (1, arguments.minutes)]
    for name, width, height in [("480p", 854, 480), ("720p", 1280, 720), ("1080p", 1920, 1080)]:
        cases.append((name, {"width": width, "height": height, "fps": 25, "seconds": 20}, 4.0))
    cases = [case for case in cases if not arguments.only or case[0] in arguments.only]
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, video, _ in cases:
            maker = get_context("fork").Process(target=make_video, args=(Path(folder) / f"{name}.mp4",), kwargs=video)
            maker.start()  # a process of its own: making an hour of sound takes more memory than predicting it
            maker.join()
        predictor = VideoPredictor(arguments.checkpoint, "cpu")
        for name, video, fps in cases:
            chosen = predictor.with_options(PredictorOptions(fps=fps))
            source = Path(folder) / f"{name}.mp4"
            table[name] = video | {"key_frames_a_second": fps} | measure(source, video["seconds"], chosen)
            print(name, json.dumps(table[name]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
