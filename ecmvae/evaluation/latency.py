"""How long after a sound begins does its mask appear, and how long after its end does the mask vanish?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ecmvae.data.collage.switches import SHIFTS, Switch, SwitchedClips, times_of
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.evaluation.evaluator import EvaluateSettings, clip_batches
from ecmvae.evaluation.inference import device_of, eval_mode, latent_draws
from ecmvae.evaluation.tasks import MaskTask
from ecmvae.metrics.by_picture import Interval, cluster_bootstrap
from ecmvae.models.base import Segmenter


class SwitchAnswer(NamedTuple):
    """A model's answer to one sound that is switched on and off.

    Attributes:
        picture: The thing that sounds.
        on: Seconds from the beginning of the sound to that of its mask, negative where the mask is earlier: a model
            whose audio window is centred on a frame hears half of it in advance. None without any mask.
        off: The same of the ends.
    """

    picture: str
    on: float | None
    off: float | None


class LatencyScores(NamedTuple):
    """Delays of masks, with 95 % intervals by picture.

    Attributes:
        pictures: Number of different pictures.
        clips: Number of clips.
        marked: Share of the clips in which the thing is marked at all.
        on: Seconds, see `SwitchAnswer`; over the marked clips, None where there are none.
        off: Likewise.
    """

    pictures: int
    clips: int
    marked: Interval
    on: Interval | None
    off: Interval | None


def delays(
    times: Float[np.ndarray, " n"], inside: Float[np.ndarray, " n"], switch: Switch
) -> SwitchAnswer:
    """When a mask begins and ends: a thing is marked while its mean probability is above 1/2.

    Args:
        times: (n,) seconds, in any order, at equal distances once they are sorted.
        inside: (n,) mean probability inside the thing at these times.
        switch: When it sounds.
    """
    order = np.argsort(times)
    marked = times[order][inside[order] > 0.5]
    if not len(marked):
        return SwitchAnswer(switch.picture, None, None)
    step = float(np.diff(times[order]).mean())
    return SwitchAnswer(
        switch.picture, float(marked[0]) - switch.on, float(marked[-1]) + step - switch.off
    )


def switch_sounds(
    model: Segmenter, clips: SwitchedClips, batch_size: int = 4, progress: bool = False
) -> Iterator[SwitchAnswer]:
    """Let a model hear all clips, in eval mode and with the means of its latents."""
    how, task = EvaluateSettings(batch_size=batch_size, progress=progress), MaskTask()
    times: dict[int, list[float]] = defaultdict(list)
    inside: dict[int, list[float]] = defaultdict(list)
    with eval_mode(model):
        for index, batch in clip_batches(clips, how, ClipPreprocessor.of(model)):
            there = batch.to(device_of(model))
            logits = task.decode(latent_draws(model, there, model.encode_audio(there.audio)))[
                "logits"
            ]
            assert there.masks is not None  # every clip has them
            area = there.masks.sum(dim=(2, 3, 4)).clamp_min(1)
            mean = (logits.sigmoid() * there.masks).sum(dim=(2, 3, 4)) / area
            for place, row in zip(index.tolist(), mean.tolist(), strict=True):
                times[place // SHIFTS] += times_of(place)
                inside[place // SHIFTS] += row
    for number, switch in enumerate(clips.switches):
        yield delays(np.array(times[number]), np.array(inside[number]), switch)


def latency_scores(answers: Sequence[SwitchAnswer]) -> LatencyScores:
    """Scores of at least one answer."""
    pictures = [answer.picture for answer in answers]
    marked = np.array([answer.on is not None for answer in answers], dtype=np.float64)
    share = cluster_bootstrap(marked, np.ones(len(marked)), pictures)
    assert share is not None

    def mean(values: Sequence[float | None]) -> Interval | None:
        return cluster_bootstrap(np.array([each or 0.0 for each in values]), marked, pictures)

    return LatencyScores(
        len(set(pictures)),
        len(answers),
        share,
        mean([answer.on for answer in answers]),
        mean([answer.off for answer in answers]),
    )
