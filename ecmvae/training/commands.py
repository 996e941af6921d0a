"""`ecmvae train` and `ecmvae train-audio`: signatures for the command line; the work is imported when it starts."""

from __future__ import annotations

from ecmvae.config import Config


def train(config: Config, resume: str | None = None) -> None:
    """Train a model on AVSBench, on AVS-Collage or on synthetic clips.

    Examples:
        ecmvae train --config configs/debug.yaml
        ecmvae train --config configs/s4_pvt.yaml --data.root AVSBench/Single-source --model.latent.dim 8
        ecmvae train --resume runs/train-001
        tensorboard --logdir runs

    Every setting below can stand in a YAML file, too: --config configs/s4_pvt.yaml --config mine.yaml lays mine.yaml
    over the first, and options on the command line over both.

    Args:
        config: Every knob of the run.
        resume: Folder of a stopped run to go on in, with its own configuration; it ends as if it had never stopped.
    """
    from ecmvae.training.run import train as run

    folder = run(config, resume)
    print(f"best model: {folder / 'best'}  (use it: ecmvae predict VIDEO --checkpoint {folder} --out OUT.mp4)")
