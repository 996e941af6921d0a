"""Things that keep their number from key frame to key frame.

Each thing goes on as it moved. What is found in the next key frame is matched with where the known things should be by
now, by the intersection over union of their masks and the Hungarian method (as SORT does with boxes, arXiv 1602.00763);
what is left over, by the distance of their centres, which finds small and fast things, and things that were hidden for
a while. A thing that was not found for `MAX_GAP` seconds is forgotten, so that memory does not grow with the video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

from ecmvae.prediction.named_maps import FoundThings

MAX_GAP = 2.0
"""Seconds that a thing may be hidden, silent or overlooked and still keep its number."""
_OVERLAP = 0.1
"""Intersection over union from which a mask is that of a known thing."""
_REACH = 1.5
"""Distance, in square roots of its area, in which a thing is looked for where no mask overlaps."""
_HIDDEN = 0.8
"""A mask that is smaller than this share of the last one is partly hidden: its middle says nothing about the motion."""
_NEW_SHARE = 0.5
"""Of the velocity that was just measured in that which is expected."""


@dataclass(eq=False)
class _Track:
    """A known thing: its mask as it was last seen whole, where and when that was, and how it moves."""

    number: int
    kind: int
    mask: Bool[np.ndarray, "p p"]
    centre: Float[np.ndarray, "2"]
    whole: float
    seen: float
    velocity: Float[np.ndarray, "2"]
    moves: bool = False

    def expected(self, time: float) -> tuple[Bool[np.ndarray, "p p"], Float[np.ndarray, "2"]]:
        """Mask and centre at a later time."""
        way = self.velocity * (time - self.whole)
        down, right = (int(step) for step in np.round(way))
        return _shifted(self.mask, down, right), self.centre + way

    def update(self, mask: Bool[np.ndarray, "p p"], time: float) -> None:
        """Take in that it was seen."""
        self.seen = time
        if mask.sum() < _HIDDEN * self.mask.sum() and time - self.whole < MAX_GAP / 2:
            return
        centre = _centre(mask)
        if time > self.whole:
            measured = (centre - self.centre) / (time - self.whole)
            self.velocity = (
                measured
                if not self.moves
                else self.velocity + _NEW_SHARE * (measured - self.velocity)
            )
            self.moves = True
        self.mask, self.centre, self.whole = mask, centre, time


class Tracker:
    """Numbers the things of one video, from 1 on.

    Args:
        max_gap: Seconds after which a thing that is not found is forgotten.
    """

    def __init__(self, max_gap: float = MAX_GAP) -> None:
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._count = 0

    def __len__(self) -> int:
        """How many things are remembered."""
        return len(self._tracks)

    def update(
        self, time: float, masks: Bool[np.ndarray, "i p p"], kinds: UInt8[np.ndarray, " i"]
    ) -> Int32[np.ndarray, " i"]:
        """The numbers of the things of the next key frame.

        Args:
            time: Seconds, rising.
            masks: Of one size in all calls.
            kinds: What each thing is: only things of one kind are matched.
        """
        self._tracks = [track for track in self._tracks if time - track.seen <= self._max_gap]
        numbers = np.zeros(len(masks), np.int32)
        visible = np.flatnonzero(masks.any(axis=(1, 2)))
        for track, found in self._match(time, masks[visible], kinds[visible]):
            numbers[visible[found]] = track.number
            track.update(masks[visible[found]], time)
        for new in np.flatnonzero(numbers == 0):
            self._count += 1
            numbers[new] = self._count
            if new in visible:
                still = np.zeros(2)
                mask = masks[new]
                track = _Track(self._count, int(kinds[new]), mask, _centre(mask), time, time, still)
                self._tracks.append(track)
        return numbers

    def follow(self, time: float, found: FoundThings) -> Int32[np.ndarray, "p p"]:
        """The same as a picture: at each pixel the number of the thing that sounds there, 0 outside of all."""
        numbers = np.zeros(len(found.masks) + 1, np.int32)
        numbers[1:] = self.update(time, found.masks, found.classes)
        picture: Int32[np.ndarray, "p p"] = numbers[found.numbers]
        return picture

    def _match(
        self, time: float, masks: Bool[np.ndarray, "i p p"], kinds: UInt8[np.ndarray, " i"]
    ) -> list[tuple[_Track, int]]:
        """Known things and the masks that are theirs."""
        if not self._tracks or not len(masks):
            return []
        expected = [track.expected(time) for track in self._tracks]
        alike = np.array([track.kind for track in self._tracks])[:, None] == kinds
        pairs = _assign(
            np.where(alike, _overlaps(np.stack([mask for mask, _ in expected]), masks), 0), _OVERLAP
        )
        # What is left: how near to where a thing should be, or was, 1 for the same place and 0 out of reach.
        centres = np.stack([_centre(mask) for mask in masks])
        places = np.stack(
            [
                (centre, track.centre)
                for track, (_, centre) in zip(self._tracks, expected, strict=True)
            ]
        )
        apart = np.linalg.norm(places[:, None] - centres[:, None], axis=-1).min(axis=-1)  # (k, i)
        sizes = np.sqrt(
            np.maximum([[track.mask.sum()] for track in self._tracks], masks.sum(axis=(1, 2)))
        )
        near = np.where(alike, 1 - apart / (_REACH * sizes), 0)
        for row, column in pairs:
            near[row], near[:, column] = 0, 0
        return [(self._tracks[row], column) for row, column in (*pairs, *_assign(near, 1e-9))]


def _assign(gain: Float[np.ndarray, "k i"], least: float) -> list[tuple[int, int]]:
    """One to one, with the largest sum of gains; pairs with less than `least` are none."""
    from scipy.optimize import linear_sum_assignment

    gain = np.where(gain >= least, gain, 0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if gain[row, column] > 0
    ]


def _overlaps(
    ours: Bool[np.ndarray, "k p p"], theirs: Bool[np.ndarray, "i p p"]
) -> Float[np.ndarray, "k i"]:
    """Intersection over union of every pair of masks."""
    first, second = (each.reshape(len(each), -1).astype(np.float32) for each in (ours, theirs))
    common = first @ second.T
    union = first.sum(axis=1)[:, None] + second.sum(axis=1) - common
    shares: np.ndarray = common / np.maximum(union, 1)
    return shares


def _centre(mask: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "2"]:
    """Row and column of the middle of a mask that is not empty."""
    middle: np.ndarray = np.argwhere(mask).mean(axis=0)
    return middle


def _shifted(mask: Bool[np.ndarray, "p p"], down: int, right: int) -> Bool[np.ndarray, "p p"]:
    """The mask moved by whole pixels; what leaves the picture is cut off."""
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if abs(down) < height and abs(right) < width:
        target = moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
        target[:] = mask[
            max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
        ]
    return moved
