"""Spans of sound against times written down by hand."""

import numpy as np
import pytest

from ecmvae.data.letterbox import Letterbox
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.spans import Span, SpanCollector, sounding


def frame(time: float, **known: object) -> FrameResult:
    probability = known.pop("probability", np.zeros((1, 4, 4), np.float32))
    return FrameResult(
        index=0,
        time=time,
        audio_activity=0.0,
        threshold=0.5,
        geometry=Letterbox(height=4, width=4, side=4),
        small_probability=probability,
        small_uncertainty=lambda: np.zeros((1, 4, 4), np.float32),
        **known,
    )


def named(time: float, dog: float, cat: float) -> FrameResult:
    return frame(
        time,
        class_names=("background", "dog", "cat"),
        class_activity=np.array([dog, cat], np.float32),
    )


def test_activity_comes_before_classes_and_these_before_the_mask() -> None:
    classes = np.zeros((4, 4), np.uint8)
    classes[0, 0] = 2
    seen = {"small_classes": classes, "class_names": ("background", "dog", "cat")}
    active = np.array([0.51, 0.5], np.float32)
    assert sounding(frame(0.0, **seen, class_activity=active)) == ("dog",)
    marked = np.ones((1, 4, 4), np.float32)
    assert sounding(frame(0.0, **seen, probability=marked)) == ("cat",)
    assert sounding(frame(0.0, probability=marked)) == ("sound",)
    assert sounding(frame(0.0)) == ()


def test_a_pause_of_a_quarter_second_ends_no_span_and_a_longer_one_does() -> None:
    """Frames of 0.125 s; the dog pauses for 0.25 s and later for 0.375 s, the cat begins in between."""
    dog, cat = [1, 1, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 0, 0, 0, 0]
    spans = SpanCollector(0.125)
    for number, (one, other) in enumerate(zip(dog, cat, strict=True)):
        spans.add(named(number / 8, one, other))
    assert spans.spans() == [
        Span("dog", 0.0, 0.625),
        Span("cat", 0.375, 0.625),
        Span("dog", 1.0, 1.125),
    ]


def test_a_frame_that_sounds_alone_is_as_long_as_it_is_shown() -> None:
    spans = SpanCollector(0.04)
    spans.add(named(2.0, 1, 0))
    (only,) = spans.spans()
    assert only.end - only.start == pytest.approx(0.04)
