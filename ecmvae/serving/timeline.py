"""The curves below the page's videos as HTML: sound activity, masked area and uncertainty over time.

Three lanes of SVG without scripts, which stretch to any width and take their colours from the page's style sheet.
"""

from __future__ import annotations

import html

import numpy as np
from jaxtyping import Float

from ecmvae.prediction.result import VideoResult

_POINTS = 400
"""Points of a curve at most; each is the highest value around it, so that a short sound is not lost."""

_LEAST = 0.01
"""Smallest upper end of a scale, so that values near zero look small."""

_MOST_CLASSES = 4
"""Classes with a curve of their own."""


def timeline_html(result: VideoResult) -> str:
    """A `<figure class="timeline">` with one lane a curve; `data-seconds` is the time at the right end.

    A model that says how surely each class sounds has a lane for each of the most active ones.

    Sound activity is drawn from -60 dB to full scale; masked area and uncertainty up to their own maximum, which is
    printed beside the lane.
    """
    area = result.masked_area
    doubt = result.key_uncertainty.mean(axis=(1, 2), dtype=np.float32)
    # key frames begin later and end earlier
    doubt = np.interp(result.timestamps, result.key_times, doubt)
    seconds = float(result.timestamps[-1])
    lanes = [
        _lane("sound", "sound activity", "\N{MINUS SIGN}60 to 0 dB", result.audio_activity, 1.0),
        _lane(
            "area",
            "masked area",
            f"up to {area.max():.1%} of the picture",
            area,
            max(float(area.max()), _LEAST),
        ),
        _lane(
            "doubt",
            "uncertainty",
            f"up to {doubt.max():.2f} bit a pixel",
            doubt,
            max(float(doubt.max()), _LEAST),
        ),
    ]
    for number, (name, activity) in enumerate(_most_active(result)):
        lanes.append(
            _lane(f"class class{number}", name, f"up to {activity.max():.2f}", activity, 1.0)
        )
    ticks = "".join(f"<span>{moment:.1f} s</span>" for moment in np.linspace(0, seconds, 5))
    return (
        f'<figure class="timeline" data-seconds="{seconds:.3f}">'
        f'<div class="lanes">{"".join(lanes)}<i class="now"></i></div><div class="ticks">{ticks}</div></figure>'
    )


def _most_active(result: VideoResult) -> list[tuple[str, Float[np.ndarray, " f"]]]:
    """The classes that sound most surely at some time, with their curves; none of a model that does not say."""
    activity = (result.activity or {}).items()
    return sorted(activity, key=lambda each: -float(each[1].max()))[:_MOST_CLASSES]


def _lane(name: str, label: str, scale: str, values: Float[np.ndarray, " n"], top: float) -> str:
    """One curve, filled down to zero, in a box 1000 wide and 100 high; visitors write names of classes themselves."""
    label = html.escape(label)
    blocks = np.array_split(values, min(len(values), _POINTS))
    heights = [100 * (1 - float(block.max()) / top) for block in blocks]
    across = np.linspace(0, 1000, len(heights)) if len(heights) > 1 else np.array([0.0])
    curve = " ".join(f"{x:.0f},{y:.1f}" for x, y in zip(across, heights, strict=True))
    end = f"1000,{heights[-1]:.1f} 1000,100 0,100"
    return (
        f'<div class="lane {name}"><p><b>{label}</b> {scale}</p>'
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{label}, {scale}">'
        f'<polygon points="{curve} {end}"/></svg></div>'
    )
