"""From frames to spans of time: when which class sounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecmvae.prediction.classes import class_name
from ecmvae.prediction.result import FrameResult

SOUNDS = 0.5
"""Activity above which a class sounds."""
LONGEST_GAP = 0.25
"""Seconds; a shorter pause does not end a span."""
ANYTHING = "sound"
"""Name of what a model without classes marks."""


@dataclass(frozen=True)
class Span:
    """A class that sounds without a longer pause; times in seconds since the first frame."""

    name: str
    start: float
    end: float


def sounding(result: FrameResult) -> tuple[str, ...]:
    """Names of what sounds in a frame: by activity where the model says it, else by what is in the mask."""
    if result.class_activity is not None:
        names = result.class_names[1:]
        return tuple(
            name for name, value in zip(names, result.class_activity, strict=True) if value > SOUNDS
        )
    if result.classes is not None:
        return tuple(
            class_name(int(k), result.class_names) for k in np.unique(result.classes) if k > 0
        )
    return (ANYTHING,) if result.mask.any() else ()


class SpanCollector:
    """Collects spans while frames go by.

    Args:
        frame_seconds: How long a frame is shown: a span ends with its last frame.
    """

    def __init__(self, frame_seconds: float) -> None:
        self._frame_seconds = frame_seconds
        self._open: dict[str, tuple[float, float]] = {}
        self._done: list[Span] = []

    def add(self, result: FrameResult) -> None:
        """Note what sounds in the next frame."""
        for name in sounding(result):
            start, end = self._open.get(name, (result.time, result.time))
            if result.time - end > LONGEST_GAP + 1e-9:
                self._done.append(Span(name, start, end))
                start = result.time
            self._open[name] = start, result.time + self._frame_seconds

    def spans(self) -> list[Span]:
        """All spans in the order in which they start."""
        still = [Span(name, start, end) for name, (start, end) in self._open.items()]
        return sorted([*self._done, *still], key=lambda span: (span.start, span.end, span.name))
