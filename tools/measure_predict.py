"""Measure `ecmvae predict`: seconds of work a second of video, peak memory against length, drift of sound and picture.

    python tools/measure_predict.py --checkpoint runs/demo              # real-time factors: 480p, 720p, 1080p
    python tools/measure_predict.py --checkpoint runs/demo --memory     # 1 and 60 minutes at 2 fps, 10 at 25 fps

Videos are generated: noise, moving where speed is measured and still where memory is (an hour of it is made and read
in minutes), and every ten seconds a white flash of one frame with a beep. Each is predicted into its overlay by a
process of its own, so that its peak memory is its own; how it grows with the minutes goes to standard error. The drift
is measured in the written overlay, decoded by PyAV directly: start of the beep minus time of the flash, at the first
and the last of them. Wall time is only worth something on an idle machine; CPU time counts all threads, x264's too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from ecmvae.data.video import VideoWriter
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.saving import write_outputs

EVENT_EVERY, BEEP_SECONDS, RATE = 10, 0.1, 16_000
PIECE = 60  # seconds: longer videos repeat their first minute, which is encoded once


@dataclass(frozen=True)
class Case:
    """One video to predict."""

    name: str
    width: int
    height: int
    fps: int
    seconds: int
    key_fps: float = 4.0
    speed: int = 2
    """Pixels that the noise moves from frame to frame."""


SPEED = [
    Case("480p", 854, 480, 25, 20),
    Case("720p", 1280, 720, 25, 20),
    Case("1080p", 1920, 1080, 25, 20),
]
MEMORY = [
    Case("1 min", 1920, 1080, 2, 60, key_fps=2.0, speed=0),
    Case("60 min", 1920, 1080, 2, 3600, key_fps=2.0, speed=0),
    Case("1 min at 25 fps", 1920, 1080, 25, 60, speed=0),
    Case("10 min at 25 fps", 1920, 1080, 25, 600, speed=0),
]


@dataclass(frozen=True)
class Measured:
    """What one video took."""

    wall_seconds: float
    cpu_seconds: float
    real_time_factor: float
    """Wall seconds a second of video: below 1 it is faster than it plays."""
    peak_megabytes: float
    drift_first_ms: float
    drift_last_ms: float


def make_video(path: Path, case: Case) -> None:
    """Write a video whose flashes and beeps coincide, at 5 s, 15 s, 25 s ..."""
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 200, (case.height // 8 + 1, case.width // 8 + 1, 3), dtype=np.uint8)
    scene = tile.repeat(8, 0).repeat(8, 1)[: case.height, : case.width]
    endless = np.concatenate([scene, scene], axis=1)
    seconds = min(case.seconds, PIECE)
    clock = np.arange(seconds * RATE) / RATE
    loud = (clock + EVENT_EVERY / 2) % EVENT_EVERY < BEEP_SECONDS
    sound = (0.5 * np.sin(2 * np.pi * 440 * clock) * loud).astype(np.float32)
    piece = path.with_suffix(".piece.mp4")
    with VideoWriter(
        piece, width=case.width, height=case.height, fps=case.fps, waveform=sound, sample_rate=RATE
    ) as writer:
        for index in range(seconds * case.fps):
            flash = (index / case.fps + EVENT_EVERY / 2) % EVENT_EVERY < 0.5 / case.fps
            left = case.speed * index % case.width
            writer.write(
                np.full_like(scene, 255) if flash else endless[:, left : left + case.width]
            )
    repeat(piece, path, sound, case.seconds // seconds)
    piece.unlink()


def repeat(piece: Path, path: Path, sound: np.ndarray, times: int) -> None:
    """Write a video that many times in a row: its picture's packets copied, its sound encoded in one go."""
    with av.open(str(path), "w") as target:
        for number in range(times):
            with av.open(str(piece)) as source:
                if number == 0:
                    picture = target.add_stream_from_template(source.streams.video[0])
                    track = target.add_stream("aac", rate=RATE, layout="mono")
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        shift = round(number * len(sound) / RATE / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = picture
                        target.mux(packet)
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = (
                RATE,
                Fraction(1, RATE),
                number * len(sound),
            )
            target.mux(track.encode(frame))
        target.mux(track.encode(None))


def drifts_ms(path: Path) -> tuple[float, float]:
    """Beep minus flash in milliseconds, at the first and at the last of them in a written video."""
    flashes, beeps = [], []
    bright, quiet_since = False, -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                luma = np.frombuffer(frame.planes[0], np.uint8).mean()
                if luma > 140 and not bright:
                    flashes.append(frame.time)
                bright = luma > 140
            else:
                loud = (
                    np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.1) / frame.sample_rate
                    + frame.time
                )
                if len(loud):
                    if loud[0] - quiet_since > 1.0:
                        beeps.append(float(loud[0]))
                    quiet_since = float(loud[-1])
    if len(flashes) != len(beeps) or not beeps:
        raise RuntimeError(f"{path}: {len(flashes)} flashes and {len(beeps)} beeps found")
    return 1000 * (beeps[0] - flashes[0]), 1000 * (beeps[-1] - flashes[-1])


def peak_megabytes() -> float:
    """Most memory that this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(source: Path, case: Case, checkpoint: str, threads: int) -> Measured:
    """Predict one video, write its overlay and look at it."""
    import torch

    from ecmvae.prediction.predictor import VideoPredictor

    os.environ["OMP_NUM_THREADS"] = str(threads)  # for onnxruntime
    torch.set_num_threads(threads)
    predictor = VideoPredictor(checkpoint, "cpu", PredictorOptions(fps=case.key_fps))
    out = source.with_suffix(".overlay.mp4")
    next_minute = 1

    def note(seconds: float) -> None:
        nonlocal next_minute
        if seconds >= 60 * next_minute:
            print(
                f"  {case.name}, minute {next_minute}: {peak_megabytes():.1f} MB",
                file=sys.stderr,
                flush=True,
            )
            next_minute += 1

    wall, cpu = time.monotonic(), time.process_time()
    write_outputs(predictor.stream(source), source, {"overlay": out}, on_frame=note)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = peak_megabytes()
    first, last = drifts_ms(out)
    return Measured(
        round(wall, 2),
        round(cpu, 2),
        round(wall / case.seconds, 3),
        round(peak, 1),
        round(first, 2),
        round(last, 2),
    )


def row(case: Case, result: Measured) -> str:
    """A line of the table in docs/predict.md."""
    size = f"{case.name}: {case.seconds} s, {case.width}x{case.height}, {case.fps} fps"
    return (
        f"| {size} | {case.key_fps:g} | {result.real_time_factor:.2f} | {result.cpu_seconds / case.seconds:.2f} "
        f"| {result.peak_megabytes:.0f} MB | {result.drift_first_ms:+.1f}, {result.drift_last_ms:+.1f} |"
    )


def main() -> None:
    """Run the cases, each in a process of its own, and print them as a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument(
        "--memory", action="store_true", help="the long videos instead of the quick ones"
    )
    parser.add_argument("--threads", type=int, default=2, help="of the engine")
    parser.add_argument("--only", nargs="*", help="names of the cases to run, such as 720p")
    parser.add_argument("--out", type=Path, help="write the table here as JSON, too")
    arguments = parser.parse_args()
    cases = (
        [case for case in SPEED + MEMORY if case.name in arguments.only] if arguments.only else None
    )
    table = {}
    print(f"{platform.processor() or platform.machine()}, threads: {arguments.threads}")
    print(
        "| video | key frames a second | real-time factor | CPU seconds a second | peak memory | drift, ms |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes,
    ):
        for case in cases or (MEMORY if arguments.memory else SPEED):
            source = Path(folder) / f"{case.name}.mp4"
            processes.submit(make_video, source, case).result()
            task = processes.submit(measure, source, case, arguments.checkpoint, arguments.threads)
            result = task.result()
            table[case.name] = asdict(case) | asdict(result)
            print(row(case, result), flush=True)
            source.unlink()
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
