"""The page's curves: known values come out as known points."""

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from ecmvae.data.letterbox import Letterbox
from ecmvae.prediction.result import VideoResult
from ecmvae.serving.timeline import timeline_html

UNLIKELY, LIKELY = 0.0417, 0.958  # an entropy of 0.25 bits


def result(frames: int, loud: list[int], masked: float) -> VideoResult:
    """`frames` frames, two a second; the picture's upper `masked` part is in the mask in the second half."""
    activity = np.zeros(frames, np.float32)
    activity[loud] = 0.5
    probabilities = np.full((2, 10, 10), UNLIKELY, np.float16)
    probabilities[1, : round(10 * masked)] = LIKELY
    return VideoResult(
        path=None,
        geometry=Letterbox(height=10, width=10, side=10, squash=True, sample_aspect=Fraction(1)),
        threshold=0.5,
        first_index=0,
        audio_track=0,
        timestamps=np.arange(frames) / 2,
        audio_activity=activity,
        key_times=np.array([0.0, max(frames - 1, 1) / 2]),
        key_probabilities=probabilities,
    )


def curve(html: str, name: str) -> list[tuple[float, float]]:
    """The points of a lane, without the two that close it."""
    points = re.search(rf'"lane {name}".*?points="([^"]+)"', html)
    assert points
    pairs = [point.split(",") for point in points[1].split()]
    return [(float(x), float(y)) for x, y in pairs][:-3]


def test_curves_are_where_they_belong() -> None:
    html = timeline_html(result(5, [2], 0.3))
    assert 'data-seconds="2.000"' in html
    assert curve(html, "sound") == [(0, 100), (250, 100), (500, 50), (750, 100), (1000, 100)]
    # of its own highest value
    assert curve(html, "area") == [(0, 100), (250, 100), (500, 100), (750, 0), (1000, 0)]
    assert "up to 30.0% of the picture" in html
    assert {round(height) for _, height in curve(html, "doubt")} == {0}
    assert "up to 0.25 bit a pixel" in html
    assert [float(tick) for tick in re.findall(r"<span>([\d.]+) s</span>", html)] == [
        0.0,
        0.5,
        1.0,
        1.5,
        2.0,
    ]


def test_a_short_sound_in_a_long_video_is_not_lost() -> None:
    points = curve(timeline_html(result(10_001, [5_000], 0.3)), "sound")
    assert len(points) <= 400
    assert min(height for _, height in points) == 50
    assert next(x for x, height in points if height == 50) == pytest.approx(500, abs=3)


def test_one_silent_frame_without_a_mask() -> None:
    html = timeline_html(result(1, [], 0.0))
    assert curve(html, "sound") == curve(html, "area") == [(0, 100)]


def test_classes_have_lanes_and_their_names_are_text() -> None:
    names = ("background", "<script>dog</script>", "cat", "rain", "siren", "bell")
    active = np.zeros((2, 5), np.float16)
    active[:, 0], active[1, 3], active[0, 1], active[0, 2] = 0.5, 1.0, 0.25, 0.125
    html = timeline_html(replace(result(4, [], 0.5), class_names=names, key_activity=active))
    assert "<script>" not in html

    assert (
        html.index("siren")
        < html.index("&lt;script&gt;dog&lt;/script&gt;")
        < html.index("cat")
        < html.index("rain")
    )
    assert "bell" not in html
    assert curve(html, "class class0")[-1] == (1000.0, 0.0)  # the siren is at 1 at the end
    assert curve(html, "class class1")[0] == (0.0, 50.0)
