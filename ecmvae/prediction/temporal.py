"""Maps over time: smoothed by a Gaussian at the key frames, then interpolated linearly to every source frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64, Int32, UInt8

from ecmvae.prediction.halves import from_half

_CUT = 2.0  # the Gaussian is cut off at two standard deviations


@dataclass(frozen=True, eq=False)
class KeyMaps:
    """What the model answers for successive key frames.

    Attributes:
        times: (k,) seconds since the first frame of the video.
        probabilities: (k, h, w), that something sounds.
        classes: (k, h, w), the likeliest class but the background; None from a model without classes.
        last: Whether no key frame follows.
        activity: (k, c), how surely each class but the background sounds; None from a model that does not say.
        things: (k, h, w), number of the thing at each pixel; None from a model that does not tell them apart.
        unready: How many at the end are still to come, and 0 so far. The block comes again with more of them.
    """

    times: Float64[np.ndarray, " k"]
    probabilities: Float[np.ndarray, "k h w"]
    classes: UInt8[np.ndarray, "k h w"] | None
    last: bool
    activity: Float[np.ndarray, "k c"] | None = None
    things: Int32[np.ndarray, "k h w"] | None = None
    unready: int = 0

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, which: slice) -> KeyMaps:
        optional = (
            None if each is None else each[which]
            for each in (self.classes, self.activity, self.things)
        )
        classes, activity, things = optional
        return KeyMaps(
            self.times[which], self.probabilities[which], classes, self.last, activity, things
        )

    def copied(self) -> KeyMaps:
        """The same without the arrays that these maps are a part of."""
        optional = (
            None if each is None else each.copy()
            for each in (self.classes, self.activity, self.things)
        )
        classes, activity, things = optional
        return KeyMaps(self.times, self.probabilities.copy(), classes, self.last, activity, things)

    def followed_by(self, other: KeyMaps) -> KeyMaps:
        """Both, one after the other."""
        pairs = (
            (self.classes, other.classes),
            (self.activity, other.activity),
            (self.things, other.things),
        )
        classes, activity, things = (
            None if mine is None or theirs is None else np.concatenate([mine, theirs])
            for mine, theirs in pairs
        )
        times, probabilities = (self.times, other.times), (self.probabilities, other.probabilities)
        together = np.concatenate(times), np.concatenate(probabilities)
        return KeyMaps(*together, classes, other.last, activity, things)


def smoothed(blocks: Iterable[KeyMaps], sigma: float) -> Iterator[KeyMaps]:
    """Smooth the probabilities of successive blocks, each as soon as no later key frame can change it.

    Args:
        blocks: Of one video. One with `unready` key frames is followed by itself with fewer of them; what is yielded
            has the same bits as if it had come at once.
        sigma: Standard deviation in key frames.

    Yields:
        Blocks that begin with the key frame that the one before ended with, for interpolation between them.
    """
    reach = smoothing_reach(sigma)
    kept: KeyMaps | None = None
    done = 0  # how many of the kept key frames were yielded already
    for block in blocks:
        together = block if kept is None else kept.followed_by(block)
        end = len(together) - (0 if block.last else reach) - block.unready
        if end > done:
            # What is unready is 0 and out of reach of what is yielded.
            yield replace(together, probabilities=smooth(together.probabilities, sigma))[
                max(done - 1, 0) : end
            ]
            done = end
        if not block.unready:
            passed = max(done - 1 - reach, 0)  # out of the filter's reach from now on
            kept, done = together[passed:].copied(), done - passed
        del (
            block,
            together,
        )  # while the next block is predicted, a whole block's maps less are in memory


def smoothing_reach(sigma: float) -> int:
    """How many neighbours on each side a key frame is averaged with; `sigma` in key frames."""
    return math.floor(_CUT * sigma + 1e-9)


def smooth(maps: Float[np.ndarray, "k h w"], sigma: float) -> Float[np.ndarray, "k h w"]:
    """Gaussian average over time, without delay; at the ends the weights of existing neighbours sum to one.

    Args:
        maps: (K, h, w) maps of equally spaced key frames.
        sigma: Standard deviation in key frames; 0 (or less than half a key frame) leaves the maps alone.
    """
    reach = smoothing_reach(sigma)
    if reach == 0 or len(maps) < 2:
        return maps
    position = np.arange(len(maps), dtype=np.float32)
    distance = position[:, None] - position
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (np.abs(distance) <= reach)
    weights /= weights.sum(axis=1, keepdims=True)
    averages: np.ndarray = np.tensordot(weights.astype(maps.dtype), maps, axes=1)
    return averages


def interpolate_in_time(
    maps: Float[np.ndarray, "k h w"],
    key_times: Float64[np.ndarray, " k"],
    times: Float64[np.ndarray, " f"],
) -> Float[np.ndarray, "f h w"]:
    """Linear interpolation of maps at rising `key_times` to `times`, in float32; constant beyond the ends.

    Times are float64 seconds: float32 is off by a millisecond after a few hours.
    """
    if len(maps) == 1:
        return np.repeat(from_half(maps), len(times), axis=0)
    right = np.searchsorted(key_times, times).clip(1, len(key_times) - 1)
    left = right - 1
    share = ((times - key_times[left]) / (key_times[right] - key_times[left])).clip(0, 1)
    share = share.astype(np.float32)[:, None, None]
    before, after = from_half(maps[left]), from_half(maps[right])
    between: np.ndarray = before + share * (after - before)
    return between


def past_average(
    maps: Float[np.ndarray, "k h w"], times: Float64[np.ndarray, " k"], sigma: float
) -> Float[np.ndarray, "h w"]:
    """The last of some maps, averaged with the earlier ones by the past half of a Gaussian, cut off as in `smooth`.

    Args:
        maps: (K, h, w).
        times: (K,) rising, in seconds.
        sigma: Standard deviation in seconds; 0 takes the last map as it is.
    """
    if sigma == 0:
        last: np.ndarray = maps[-1]
        return last
    distance = times[-1] - times
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (distance <= _CUT * sigma + 1e-9)
    weights /= weights.sum()
    average: np.ndarray = np.tensordot(weights.astype(maps.dtype), maps, axes=1)
    return average
