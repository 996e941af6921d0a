"""What an export costs and saves: `python tools/benchmark_export.py --checkpoint RUN --data ROOT --task s4`.

PyTorch, ONNX and dynamically quantised ONNX answer the same clips in turns, so that a slow minute of the machine hits
all alike. mIoU is per clip, the headline of `ecmvae evaluate`. Compare ratios of one run, not seconds of two machines.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.models.checkpoint import load_model
from ecmvae.prediction.export import DeterministicModel, export_onnx, quantise_onnx
from ecmvae.prediction.onnx_engine import OnnxEngine

Answer = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Export, let all answer, print one line a form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", required=True, help="model folder, or the run that holds it"
    )
    parser.add_argument(
        "--data", required=True, help="root in AVSBench's layout, for instance runs/demo/data"
    )
    parser.add_argument("--task", choices=["s4", "ms3"], default="s4")
    parser.add_argument("--split", default="test_seen")
    parser.add_argument("--clips", type=int, default=200, help="score the first so many")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.checkpoint)
    knobs = model.config.data
    clips = AVSBenchDataset(
        args.data,
        args.task,
        args.split,
        image_size=knobs.image_size,
        num_frames=knobs.num_frames,
        hop_seconds=knobs.hop_seconds,
    )
    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder, "model.onnx"), Path(folder, "model.int8.onnx")
        export_onnx(model, plain)
        quantise_onnx(plain, quantised)
        forms: dict[str, tuple[Answer, float]] = {
            "PyTorch float32": (
                DeterministicModel(model).eval(),
                sum(p.nbytes for p in model.parameters()) / 1e6,
            ),
            "ONNX float32": (
                _answer_of(OnnxEngine(plain, threads=args.threads)),
                plain.stat().st_size / 1e6,
            ),
            "ONNX int8": (
                _answer_of(OnnxEngine(quantised, threads=args.threads)),
                quantised.stat().st_size / 1e6,
            ),
        }
        scores, seconds, farthest = _measure(
            forms, clips, ClipPreprocessor.of(model), min(args.clips, len(clips))
        )
    base = seconds["PyTorch float32"]
    summary = (
        f"{min(args.clips, len(clips))} clips of {knobs.num_frames} frames, {args.threads} threads"
    )
    print(f"{args.task} {args.split}, {summary}")
    for name, (_, megabytes) in forms.items():
        print(
            f"{name:16} {megabytes:6.1f} MB  {1e3 * seconds[name]:6.0f} ms a clip ({base / seconds[name]:.2f}x)  "
            f"mIoU {scores[name]:.4f}  largest logit difference {farthest[name]:.1e}"
        )


def _answer_of(engine: OnnxEngine) -> Answer:
    return lambda frames, log_mel: torch.from_numpy(
        engine.logits(frames.numpy(), log_mel.numpy())[0]
    )


@torch.no_grad()
def _measure(
    forms: dict[str, tuple[Answer, float]],
    clips: AVSBenchDataset,
    prepare: ClipPreprocessor,
    count: int,
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Of each form: mean per-clip IoU, median seconds a clip, largest difference from the first form's logits."""
    ious: dict[str, list[float]] = {name: [] for name in forms}
    taken: dict[str, list[float]] = {name: [] for name in forms}
    farthest = dict.fromkeys(forms, 0.0)
    for index in range(count):
        clip = prepare(clips[index])
        assert clip.masks is not None
        assert clip.audio is not None
        first = None
        for name, (answer, _) in forms.items():
            started = time.perf_counter()
            logits = answer(clip.frames[None], clip.audio[None])[0]
            taken[name].append(time.perf_counter() - started)
            first = logits if first is None else first
            farthest[name] = max(farthest[name], (logits - first).abs().max().item())
            ious[name].append(avsbench_iou(logits, clip.masks).mean().item())
    return (
        {name: statistics.fmean(values) for name, values in ious.items()},
        {name: statistics.median(values) for name, values in taken.items()},
        farthest,
    )


if __name__ == "__main__":
    main()
