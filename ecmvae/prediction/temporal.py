"""Between key frames: temporal smoothing and interpolation of maps.

The model looks at a few key frames a second. Their maps are smoothed by a Gaussian over time, then interpolated
linearly to every frame of the source.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_CUT = 2.0  # the Gaussian is cut off at two standard deviations


def smoothing_reach(sigma: float) -> int:
    """How many neighbours on each side a key frame is averaged with; `sigma` in key frames."""
    return math.floor(_CUT * sigma + 1e-9)


def smooth(maps: Float[Tensor, "k h w"], sigma: float) -> Float[Tensor, "k h w"]:
    """Gaussian average over time, without delay; at the ends the weights of existing neighbours sum to one.

    Args:
        maps: (K, h, w) maps of equally spaced key frames.
        sigma: Standard deviation in key frames; 0 (or less than half a key frame) leaves the maps alone.
    """
    reach = smoothing_reach(sigma)
    if reach == 0 or len(maps) < 2:
        return maps
    position = torch.arange(len(maps), dtype=torch.float32)
    distance = position[:, None] - position[None, :]
    weights = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance.abs() <= reach)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return torch.einsum("jk,khw->jhw", weights.to(maps), maps)


def interpolate_in_time(
    maps: Float[Tensor, "k h w"], key_times: Float[Tensor, " k"], times: Float[Tensor, " f"]
) -> Float[Tensor, "f h w"]:
    """Linear interpolation of (K, h, w) maps at rising `key_times` to `times`; constant beyond the ends.

    Times are float64 seconds: float32 is off by a millisecond after a few hours. Maps may be in half precision; the
    result is float32.
    """
    if len(maps) == 1:
        return maps.float().expand(len(times), -1, -1)
    right = torch.searchsorted(key_times, times).clamp(1, len(key_times) - 1)
    left = right - 1
    share = ((times - key_times[left]) / (key_times[right] - key_times[left])).clamp(0, 1)
    weight = share.float()[:, None, None]
    return torch.lerp(maps[left].float(), maps[right].float(), weight)


class SmoothedTail:
    """Key frames on their way through the temporal filter, which looks a few of them ahead.

    Args:
        sigma: Standard deviation of the filter in key frames.
    """

    def __init__(self, sigma: float) -> None:
        self._sigma = sigma
        self._reach = smoothing_reach(sigma)
        self._times = torch.empty(0, dtype=torch.float64)
        self._maps: Tensor | None = None
        self._classes: Tensor | None = None
        self._done = 0  # how many of the kept key frames are given out already

    def append(self, times: Tensor, maps: Tensor, classes: Tensor | None) -> None:
        """Take in further key frames: times (k,), maps (k, h, w) and, where there are any, classes (k, h, w)."""
        self._times = torch.cat([self._times, times])
        self._maps = maps if self._maps is None else torch.cat([self._maps, maps])
        self._classes = classes if classes is None or self._classes is None else torch.cat([self._classes, classes])

    def take(self, *, last: bool) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Smoothed key frames that no later one can change, led by the one given out last; None when there is none."""
        assert self._maps is not None
        final = len(self._times) if last else len(self._times) - self._reach
        first = max(self._done - 1, 0)  # the frames between two windows are interpolated from both sides
        if final <= self._done:
            return None
        classes = None if self._classes is None else self._classes[first:final]
        result = self._times[first:final], smooth(self._maps, self._sigma)[first:final], classes
        drop = max(final - 1 - self._reach, 0)  # what the filter will not look back at any more
        self._times, self._maps, self._done = self._times[drop:], self._maps[drop:], final - drop
        self._classes = None if self._classes is None else self._classes[drop:]
        return result
