"""Measure what we claim about speed and memory: `python tools/benchmark.py model|step|fscore`.

Times are medians over interleaved repeats in one process. Compare ratios within one run, not seconds of two machines.

    python tools/benchmark.py model --config configs/s4_pvt.yaml    forward, training step, peak memory at full size
    python tools/benchmark.py step --config configs/collage_demo.yaml    one training step, by precision and layout
    python tools/benchmark.py fscore    255-threshold F-measure: histogram against the plain loop
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from ecmvae.config import Config, load_config
from ecmvae.losses.objective import Objective
from ecmvae.metrics.functional import avsbench_fscore_curve
from ecmvae.models import Segmenter, build_model


def main() -> None:
    """Run the benchmark named on the command line and print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["model", "step", "fscore"])
    parser.add_argument("--config", default="configs/s4_pvt.yaml")
    parser.add_argument("--clips", type=int, default=1, help="clips in a batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, {args.repeats} repeats")
    {"model": _model, "step": _step, "fscore": _fscore}[args.what](args)


def _network(path: str) -> tuple[Config, Segmenter, Objective]:
    """The network of a configuration with random weights: its speed does not depend on them."""
    config = load_config(path)
    model = replace(
        config.model, visual=replace(config.model.visual, weights=None), audio=replace(config.model.audio, weights=None)
    )
    torch.manual_seed(0)
    return config, build_model(model, image_size=config.data.image_size), Objective.from_config(config)


def _clip(config: Config, clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    frames, side = config.data.num_frames, config.data.image_size
    masks = torch.zeros(clips, frames, 1, side, side)
    masks[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    return torch.randn(clips, frames, 3, side, side), torch.rand(clips, frames, 128), masks


def _model(args: argparse.Namespace) -> None:
    config, model, loss = _network(args.config)
    frames, audio, masks = _clip(config, args.clips)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, config.train.learning_rate)
    print(f"{args.config}: {sum(p.numel() for p in model.parameters()):,} parameters, frames {tuple(frames.shape)}")

    def forward() -> None:
        with torch.no_grad():
            model.eval()(frames, audio, latents="mean")

    def step() -> None:
        optimiser.zero_grad()
        loss(model.train()(frames, audio, masks), masks).total.backward()
        optimiser.step()

    for name, action in (("forward", forward), ("training step", step)):
        seconds = _median(action, args.repeats)
        print(f"{name}: {seconds:.2f} s, peak memory of the process so far {_peak_gigabytes():.2f} GB")


def _step(args: argparse.Namespace) -> None:
    config, model, loss = _network(args.config)
    frames, audio, masks = _clip(config, args.clips)
    features = model.extract_features(frames)
    actions: dict[str, Callable[[], None]] = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        for precise in (True, False):

            def step(layout: torch.memory_format = layout, precise: bool = precise) -> None:
                model.to(memory_format=layout)
                maps = [m.flatten(0, 1).contiguous(memory_format=layout).unflatten(0, m.shape[:2]) for m in features]
                with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
                    output = model(frames, audio, masks, features=maps)
                loss(output, masks).total.backward()

            actions[f"{str(layout).removeprefix('torch.')}, {'float32' if precise else 'bfloat16'}"] = step
    times = _interleaved(actions, args.repeats)
    base = max(times.values())
    for name, seconds in times.items():
        print(f"{name}: {1e3 * seconds / args.clips:.0f} ms a clip, {base / seconds:.2f}x")


def _fscore(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(20, 224, 224), (torch.rand(20, 224, 224) > 0.7).float()
    thresholds = torch.linspace(0, 1 - 1e-10, 255)

    def loop() -> torch.Tensor:
        probability, rows = logits.sigmoid(), []
        for p, y in zip(probability, target, strict=True):
            curve = []
            for threshold in thresholds:
                hit = (p >= threshold).float()
                true = (hit * y).sum()
                precision, recall = true / (hit.sum() + 1e-20), true / (y.sum() + 1e-20)
                curve.append(torch.nan_to_num(1.3 * precision * recall / (0.3 * precision + recall)))
            rows.append(torch.stack(curve))
        return torch.stack(rows)

    difference = (loop() - avsbench_fscore_curve(logits, target)).abs().max().item()
    actions = {"plain loop": lambda: loop(), "histogram": lambda: avsbench_fscore_curve(logits, target)}
    times = _interleaved(actions, args.repeats)
    print(f"20 frames of 224 px; largest difference of the curves {difference:.1e}")
    for name, seconds in times.items():
        print(f"{name}: {seconds:.3f} s, {times['plain loop'] / seconds:.1f}x")


def _interleaved(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each action; the repeats take turns, so that a slow minute of the machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if repeat:  # the first round warms up
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def _median(action: Callable[[], object], repeats: int) -> float:
    return _interleaved({"": action}, repeats)[""]


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
