"""Where to crop a video so that what sounds stays in the picture: from masks over time to a path of the crop.

A crop of a given aspect is as large as the picture allows, so it moves along one axis only. The path is planned for the
whole video at once. It holds, for every frame, three promises:

- the crop never leaves the picture;
- it moves at most `ReframeOptions.speed` of the picture's side a second, except at cuts;
- it contains at least `ReframeOptions.coverage` of the masked area wherever a crop of this size can, except for masks
  that would need a cut and last shorter than `ReframeOptions.shortest_shot`.

Among the paths that do, it takes one that stays still while what sounds is inside a safe zone. It cuts where the camera
could not follow at its speed, as few times as possible.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float64, Int

from ecmvae.errors import UserError, check_range

_SMOOTHING_SECONDS = 0.3
_POOLING_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ReframeOptions:
    """How the crop follows what sounds."""

    aspect: Fraction
    """Width of the crop over its height, as shown: 9/16 for phones."""
    speed: float = 0.25
    """Share of the picture's side that the crop may move a second."""
    coverage: float = 0.9
    """Share of the masked area that stays inside, where it fits."""
    safe_zone: float = 0.1
    """Margin on each side of the crop, as a share of it, that what sounds should stay clear of."""
    shortest_shot: float = 0.4
    """Seconds; the crop does not cut away for less."""

    def __post_init__(self) -> None:
        """Raise a `UserError` that names an option out of its range."""
        if not Fraction(1, 10) <= self.aspect <= 10:
            raise UserError(f"the aspect of --reframe is from 1:10 to 10:1, got {self.aspect}")
        check_range("the speed of the crop", self.speed, 0.01, 100)
        check_range("the coverage of the crop", self.coverage, 0.5, 1)
        check_range("the safe zone of the crop", self.safe_zone, 0, 0.49)
        check_range("the shortest shot, in seconds,", self.shortest_shot, 0, 60)


def crop_size(
    height: int, width: int, aspect: Fraction, sample_aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """Height and width of the largest crop of an aspect, in even numbers of pixels where the picture has 2.

    Args:
        height: Pixels of the picture.
        width: Likewise.
        aspect: Width over height of the crop, as shown.
        sample_aspect: Width of a pixel over its height.
    """
    in_pixels = aspect / sample_aspect
    crop_width = min(width, round(height * in_pixels))
    crop_height = min(height, round(width / in_pixels))
    return _even(crop_height), _even(crop_width)


class CropPlanner:
    """Collects what the masks demand, a few numbers a frame, and plans the path of the crop.

    Args:
        height: Pixels of the picture.
        width: Likewise.
        options: How to follow.
        sample_aspect: Width of a pixel over its height.

    Attributes:
        size: Height and width of the crop.
        axis: 1 if it moves from left to right, 0 if up and down.
    """

    def __init__(
        self,
        height: int,
        width: int,
        options: ReframeOptions,
        sample_aspect: Fraction = Fraction(1),
    ) -> None:
        self.options = options
        self.size = crop_size(height, width, options.aspect, sample_aspect)
        self.axis = 1 if self.size[1] < width else 0
        self._side = (height, width)[self.axis]
        self._window = self.size[self.axis]
        self._pooled = np.zeros(self._side)
        self._times, self._bounds = array("d"), array("d")  # one and four numbers a frame

    def add(self, mask: Bool[np.ndarray, "h w"], time: float) -> None:
        """Note the mask of the next frame; `time` in seconds."""
        profile = np.count_nonzero(mask, axis=1 - self.axis).astype(np.float64)
        passed = time - self._times[-1] if self._times else 0.0
        self._pooled = self._pooled * np.exp(-max(passed, 0.0) / _POOLING_SECONDS) + profile
        self._times.append(time)
        self._bounds.extend(self._demand(profile))

    def path(self) -> Int[np.ndarray, " f"]:
        """First row or column of the crop in every frame."""
        count = len(self._times)
        if count == 0:
            return np.zeros(0, np.int64)
        low, high, tight_low, tight_high = np.array(self._bounds).reshape(count, 4).T
        times = np.array(self._times)
        steps = np.diff(times, prepend=times[0]).clip(0) * self.options.speed * self._side
        starts = self._cuts(times, steps, low, high)
        sigma = self._sigma(times)
        positions = np.empty(count)
        for start, end in zip(starts, [*starts[1:], count], strict=True):
            part = slice(start, end)
            positions[part] = _shot(
                steps[part], low[part], high[part], tight_low[part], tight_high[part], sigma
            )
        path: Int[np.ndarray, " f"] = (
            np.rint(positions).astype(np.int64).clip(0, self._side - self._window)
        )
        return path

    def _demand(self, profile: Float64[np.ndarray, " s"]) -> tuple[float, float, float, float]:
        """Range of positions that contain enough of a mask, and the range that also keeps clear of the margins."""
        last = float(self._side - self._window)
        total = profile.sum()
        if total == 0 or last == 0:
            return 0.0, last, 0.0, last
        inside = _inside(profile, self._window)
        # it does not fit: what matters most over the last second
        if inside.max() < self.options.coverage * total:
            low, high = _around_best(_inside(self._pooled, self._window), 0.95)
            return 0.0, last, (low + high) / 2, (low + high) / 2
        low, high = _around_best(inside, self.options.coverage * total / inside.max())
        margin = min(self.options.safe_zone * self._window, (high - low) / 2)
        return low, high, low + margin, high - margin

    def _cuts(
        self,
        times: Float64[np.ndarray, " f"],
        steps: Float64[np.ndarray, " f"],
        low: Float64[np.ndarray, " f"],
        high: Float64[np.ndarray, " f"],
    ) -> list[int]:
        """First frames of shots. Demands of shots that would be too short are dropped from `low` and `high`."""
        while True:
            starts = _first_frames(steps, low, high)
            ends = [*starts[1:], len(times)]
            lengths = [_length(times, start, end) for start, end in zip(starts, ends, strict=True)]
            brief = [
                place for place, length in enumerate(lengths) if length < self.options.shortest_shot
            ]
            if len(starts) == 1 or not brief:
                return starts
            shortest = min(brief, key=lambda place: lengths[place])
            dropped = slice(starts[shortest], ends[shortest])
            if (low[dropped] == 0).all() and (high[dropped] == self._side - self._window).all():
                return starts  # nothing is left to drop
            low[dropped], high[dropped] = 0.0, float(self._side - self._window)

    @staticmethod
    def _sigma(times: Float64[np.ndarray, " f"]) -> float:
        """The smoothing in frames."""
        gaps = np.diff(times)
        return _SMOOTHING_SECONDS / max(float(np.median(gaps)), 1e-3) if len(gaps) else 0.0


def _even(pixels: int) -> int:
    return max(pixels // 2 * 2, 1 if pixels < 2 else 2)


def _inside(profile: Float64[np.ndarray, " s"], window: int) -> Float64[np.ndarray, " p"]:
    """Sum of the profile inside the window at every position."""
    sums = np.concatenate([[0.0], np.cumsum(profile)])
    inside: np.ndarray = sums[window:] - sums[:-window]
    return inside


def _around_best(inside: Float64[np.ndarray, " p"], share: float) -> tuple[float, float]:
    """First and last position around the best one that contain at least `share` of what that one does."""
    best = int(inside.argmax())
    enough = inside >= share * inside[best] - 1e-9
    below, above = np.flatnonzero(~enough[:best]), np.flatnonzero(~enough[best:])
    low = int(below[-1]) + 1 if len(below) else 0
    high = best + int(above[0]) - 1 if len(above) else len(inside) - 1
    return float(low), float(high)


def _first_frames(
    steps: Float64[np.ndarray, " f"],
    low: Float64[np.ndarray, " f"],
    high: Float64[np.ndarray, " f"],
) -> list[int]:
    """Frames at which a new shot has to begin, the first frame among them: the fewest that are possible."""
    starts, left, right = [0], low[0], high[0]
    for frame in range(1, len(steps)):
        left, right = max(left - steps[frame], low[frame]), min(right + steps[frame], high[frame])
        if left > right:
            starts.append(frame)
            left, right = low[frame], high[frame]
    return starts


def _length(times: Float64[np.ndarray, " f"], start: int, end: int) -> float:
    """Seconds of frames `start` to `end`, the last one as long as the one before it."""
    gap = times[end - 1] - times[end - 2] if end > 1 else 0.0
    return float(times[end - 1] - times[start] + gap)


def _shot(
    steps: Float64[np.ndarray, " f"],
    low: Float64[np.ndarray, " f"],
    high: Float64[np.ndarray, " f"],
    tight_low: Float64[np.ndarray, " f"],
    tight_high: Float64[np.ndarray, " f"],
    sigma: float,
) -> Float64[np.ndarray, " f"]:
    """Positions during one shot: still where they can be, then smoothed, and in both cases within all bounds."""
    reach_low, reach_high = low.copy(), high.copy()
    for frame in range(1, len(steps)):
        reach_low[frame] = max(low[frame], reach_low[frame - 1] - steps[frame])
        reach_high[frame] = min(high[frame], reach_high[frame - 1] + steps[frame])

    def backwards(wish: Float64[np.ndarray, " f"] | None) -> Float64[np.ndarray, " f"]:
        positions = np.empty(len(steps))
        later = (tight_low[-1] + tight_high[-1]) / 2
        for frame in range(len(steps) - 1, -1, -1):
            left, right = reach_low[frame], reach_high[frame]
            if frame < len(steps) - 1:
                left, right = (
                    max(left, later - steps[frame + 1]),
                    min(right, later + steps[frame + 1]),
                )
            wanted = (
                min(max(later, tight_low[frame]), tight_high[frame])
                if wish is None
                else wish[frame]
            )
            later = positions[frame] = min(max(wanted, left), right)
        return positions

    return backwards(_smooth(backwards(None), sigma))


def _smooth(values: Float64[np.ndarray, " f"], sigma: float) -> Float64[np.ndarray, " f"]:
    """Gaussian average; beyond the ends the first and the last value go on."""
    reach = min(round(3 * sigma), 1000)
    if reach == 0:
        return values
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="edge")
    averages: np.ndarray = np.convolve(padded, weights / weights.sum(), mode="valid")
    return averages
