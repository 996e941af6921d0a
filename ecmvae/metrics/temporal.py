"""Steadiness over time: flicker where nothing changes, and how late a mask comes and goes with its sound.

The definitions are ours: no audio-visual benchmark scores time. They need ground truth of consecutive frames in which
things fall silent, as AVISeg and AVS-Collage have it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ecmvae.metrics.clip_sums import ClipMetric
from ecmvae.metrics.functional import marked
from ecmvae.metrics.jf import region_similarity

AREA = 0.005
"""A frame counts as marked when more than this share of its pixels is."""


class TemporalScores(NamedTuple):
    """None where there is nothing to average.

    Attributes:
        flicker: Mean of 1 - IoU of the predictions of two consecutive frames whose ground truth is the same.
        onset_latency: Mean seconds from the frame in which something begins to sound to the first marked frame.
        onsets_missed: Share of the onsets after which no frame is marked before all is silent again.
        offset_latency: Mean seconds from the frame in which all falls silent to the first frame without a mark.
        offsets_missed: Share of the offsets after which marks stay until something sounds again.
    """

    flicker: float | None
    onset_latency: float | None
    onsets_missed: float | None
    offset_latency: float | None
    offsets_missed: float | None


def flicker(predicted: Bool[Tensor, "t h w"], truth: Bool[Tensor, "t h w"]) -> Float[Tensor, " k"]:
    """1 - IoU of the predictions of each pair of consecutive frames with equal ground truth; two empty ones agree.

    Example:
        >>> frames = torch.zeros(3, 2, 2, dtype=torch.bool)
        >>> frames[1, 0, 0] = True
        >>> flicker(frames, torch.zeros(3, 2, 2, dtype=torch.bool)).tolist()
        [1.0, 1.0]
    """
    steady = (truth[1:] == truth[:-1]).flatten(1).all(dim=1)
    return 1 - region_similarity(predicted[1:][steady], predicted[:-1][steady])


def latencies(on: list[bool], sounding: list[bool]) -> tuple[list[int | None], list[int | None]]:
    """Frames from each onset to the first marked frame, and from each offset to the first one that is not marked.

    None where there is none before the next change of the ground truth, or the end. What sounds in the first frame has
    no onset.

    Example:
        >>> latencies([False, False, True, True, False], [False, True, True, False, False])
        ([1], [1])
    """
    onsets: list[int | None] = []
    offsets: list[int | None] = []
    changes = [k for k in range(1, len(sounding)) if sounding[k] != sounding[k - 1]]
    for start, stop in zip(changes, [*changes, len(sounding)][1:], strict=True):
        found = next((k - start for k in range(start, stop) if on[k] == sounding[start]), None)
        (onsets if sounding[start] else offsets).append(found)
    return onsets, offsets


class Temporal(ClipMetric):
    """`TemporalScores` at a probability above 0.5."""

    name, label = "temporal", "temporal"
    higher_is_better = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(8, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        hop_seconds: Float[Tensor, " b"],
        index: Int[Tensor, " b"],
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips by their places in the data set; `hop_seconds` are those between two frames of each clip."""
        rows = []
        for number, (predicted, truth) in enumerate(
            zip(marked(logits)[:, :, 0], (masks > 0)[:, :, 0], strict=True)
        ):
            kept = slice(None) if valid is None else valid[number]
            changes = flicker(predicted[kept], truth[kept])
            on = (predicted[kept].flatten(1).double().mean(dim=1) > AREA).tolist()
            row = [float(changes.sum()), float(len(changes))]
            for found in latencies(on, truth[kept].flatten(1).any(dim=1).tolist()):
                times = [each * float(hop_seconds[number]) for each in found if each is not None]
                row += [sum(times), float(len(times)), float(len(found))]
            rows.append(row)
        self._keep(index, torch.tensor(rows, dtype=torch.float64, device=logits.device))

    def compute(self) -> TemporalScores:
        """Scores of all clips seen."""
        changed, pairs, *times = self._rows().double().sum(dim=0).tolist()
        ends: list[float | None] = []
        for seconds, found, all_ in (times[:3], times[3:]):
            ends += [_over(seconds, found), _over(all_ - found, all_)]
        return TemporalScores(_over(changed, pairs), *ends)


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole else None
