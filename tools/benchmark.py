"""Measure what we claim about speed and memory: `python tools/benchmark.py [ROW ...]`.

Every figure comes from a process of its own, and the variants of a row take turns (A/B/A/B), so that a slow minute of
the machine hits all alike. Compare the ratios of one run, medians over its rounds; never seconds of two machines.

    python tools/benchmark.py                             all rows, at the size of configs/s4_resnet50.yaml
    python tools/benchmark.py step --config configs/s4_pvt.yaml --rounds 5
    python tools/benchmark.py --quick --json out.json     all rows at toy size, in minutes: do they run?
    python tools/benchmark.py step --against PYTHON       beside another environment, such as one of an older commit

Rows: step (a training step of one clip, by layout, precision and activation checkpointing), forward, tpavi (the L x L
matrix of the paper against the reassociated product), fscore (255 thresholds), loop (an epoch at the demo's size in a
bare loop and under Lightning), data (clips from files and packed). `tools/benchmark_predict.py` measures prediction.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RATIOS = ("cpu_s", "peak_mb")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def main() -> None:
    """Measure and print; --json writes the figures, too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help="rows to measure; all by default")
    parser.add_argument(
        "--config", default="configs/s4_resnet50.yaml", help="network of step and forward"
    )
    parser.add_argument("--rounds", type=int, default=3, help="processes of each variant")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="toy sizes, one round")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--against", help="python of another environment, whose first variant is measured, too"
    )
    parser.add_argument("--one", nargs=2, metavar=("ROW", "VARIANT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(
            json.dumps(
                measure_one(*args.one, quick=args.quick, config=args.config, threads=args.threads)
            )
        )
        return
    from benchmark_rows import ROWS

    unknown = sorted(set(args.rows) - set(ROWS))
    if unknown:
        parser.error(f"no such row: {unknown[0]}; choose from {', '.join(ROWS)}")
    figures: dict[str, Any] = {"machine": machine(args.threads), "rows": {}, "ratios": {}}
    print(figures["machine"], flush=True)
    for row in args.rows or ROWS:
        taken = in_turns(row, list(ROWS[row]), args)
        base = next(iter(taken))
        for name, rounds in taken.items():
            least = {key: min(each[key] for each in rounds) for key in rounds[0]}
            ratios = {
                key: statistics.median(
                    ours[key] / theirs[key]
                    for ours, theirs in zip(rounds, taken[base], strict=True)
                )
                for key in RATIOS
            }
            figures["rows"].setdefault(row, {})[name] = least
            figures["ratios"].setdefault(row, {})[name] = ratios
            print(
                f"{row:8} {name:30} {least['cpu_s']:9.3f} CPU s a clip {ratios['cpu_s']:6.2f}x "
                f"{least['peak_mb']:7.0f} MB {ratios['peak_mb']:6.2f}x",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def in_turns(
    row: str, variants: list[str], args: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """The rounds of every variant, each in a process of its own."""
    jobs = {name: (sys.executable, name) for name in variants}
    if args.against:
        jobs = {f"there: {variants[0]}": (args.against, variants[0]), **jobs}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    common = [
        "--config",
        args.config,
        "--threads",
        str(args.threads),
        *(["--quick"] if args.quick else []),
    ]
    for _ in range(1 if args.quick else args.rounds):
        for name, (python, variant) in jobs.items():
            words = [python, __file__, *common, "--one", row, variant]
            environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
            done = subprocess.run(words, capture_output=True, text=True, env=environment)
            if done.returncode:
                said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
                raise SystemExit(f"{row}, {name}: {said[-1]}")
            taken[name].append(json.loads(done.stdout.splitlines()[-1]))
    return taken


def measure_one(
    row: str, variant: str, *, quick: bool, config: str, threads: int
) -> dict[str, float]:
    """Least CPU and wall seconds a clip of one variant, and the peak memory of this process."""
    import torch
    from benchmark_rows import ROWS

    torch.set_num_threads(threads)
    work = ROWS[row][variant](quick, config)
    cpu, wall = [], []
    for _ in range(2 if quick else 4):  # the first one warms up
        started, began = time.process_time(), time.perf_counter()
        clips = work()
        cpu.append((time.process_time() - started) / clips)
        wall.append((time.perf_counter() - began) / clips)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "cpu_s": min(cpu[1:]),
        "wall_s": min(wall[1:]),
        "peak_mb": peak / (1e3 if sys.platform == "linux" else 1e6),
    }


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    flags = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    matrix = torch.randn(1024, 1024)
    torch.set_num_threads(1)
    seconds = min(_seconds(matrix) for _ in range(5))
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "flags": [flag for flag in _FLAGS if f" {flag}" in flags],
        "torch": torch.__version__,
        "sgemm_gflops_a_core": round(2 * 1024**3 / seconds / 1e9, 1),
    }


def _seconds(matrix: Any) -> float:
    started = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
