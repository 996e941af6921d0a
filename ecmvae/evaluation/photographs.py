"""Which of two photographs does a model mark when it hears one of them?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ecmvae.data.collage.photographs import PhotographPairs
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.evaluation.evaluator import EvaluateSettings, clip_batches
from ecmvae.evaluation.inference import device_of, eval_mode, latent_draws
from ecmvae.evaluation.tasks import MaskTask
from ecmvae.metrics.by_picture import Interval, cluster_bootstrap
from ecmvae.models.base import Segmenter


class PairAnswer(NamedTuple):
    """A model's answer to one pair.

    Attributes:
        picture: The photograph that sounds.
        right: Whether its half has the larger sum of mask probabilities over all frames; equal sums are wrong.
    """

    picture: str
    right: bool


class PhotographScores(NamedTuple):
    """Scores on pairs of photographs.

    Attributes:
        photographs: Number of different photographs that sound.
        pairs: Number of pairs.
        right_of_two: Share of pairs whose sounding half is marked more, with a 95 % interval by photograph.
    """

    photographs: int
    pairs: int
    right_of_two: Interval


def show_pairs(
    model: Segmenter, pairs: PhotographPairs, batch_size: int = 4, progress: bool = False
) -> Iterator[PairAnswer]:
    """Show all pairs to a model, in eval mode and with the means of its latents."""
    how, task = EvaluateSettings(batch_size=batch_size, progress=progress), MaskTask()
    with eval_mode(model):
        for index, batch in clip_batches(pairs, how, ClipPreprocessor.of(model)):
            there = batch.to(device_of(model))
            logits = task.decode(latent_draws(model, there, model.encode_audio(there.audio)))[
                "logits"
            ]
            half = logits.shape[-2] // 2
            mass = logits.sigmoid().double()
            upper, lower = (
                mass[..., :half, :].sum(dim=(1, 2, 3, 4)),
                mass[..., half:, :].sum(dim=(1, 2, 3, 4)),
            )
            for place, above, below in zip(
                index.tolist(), upper.tolist(), lower.tolist(), strict=True
            ):
                pair = pairs.pairs[place]
                yield PairAnswer(pair.picture, below > above if pair.heard else above > below)


def pair_scores(answers: Sequence[PairAnswer]) -> PhotographScores:
    """Scores of at least one answer."""
    pictures = [answer.picture for answer in answers]
    right = np.array([answer.right for answer in answers], dtype=np.float64)
    share = cluster_bootstrap(right, np.ones(len(right)), pictures)
    assert share is not None
    return PhotographScores(len(set(pictures)), len(answers), share)
