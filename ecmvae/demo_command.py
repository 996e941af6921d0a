"""`ecmvae demo`: its signature for the command line; the work is imported when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def demo(
    out: str = "runs/demo",
    data: Literal["auto", "collage", "synthetic"] = "auto",
    cache: str | None = None,
    config: str | None = None,
    minutes: float = 8.0,
    audio_minutes: float = 1.25,
    clips: int = 200,
    seed: int = 0,
) -> None:
    """Make data, train, evaluate and predict: everything that ecmvae does, in a quarter of an hour on two cores.

    Downloads real photos and recordings (without a network it generates shapes and voices), composes AVS-Collage from
    them, trains an audio encoder and then ECMVAE, evaluates it with the true sound, silence and another clip's sound,
    and cuts the sounding object out of the video of a test clip. An older demo in the same folder is moved aside; any
    other folder that is not empty is refused.

    Examples:
        ecmvae demo
        ecmvae demo --data synthetic --minutes 1 --clips 20

    Args:
        out: Folder for the results.
        data: collage, synthetic, or auto: collage if it can be fetched.
        cache: Where fetched packages are kept; by default in the user's cache folder.
        config: Settings of the training instead of configs/collage_demo.yaml.
        minutes: Longest time for training ECMVAE.
        audio_minutes: Longest time for training the audio encoder.
        clips: Number of test clips in each of the two sets.
        seed: Seed of data and training.
    """
    from ecmvae.demo import Demo

    Demo(Path(out), data, cache, config, minutes, audio_minutes, clips, seed).run()
