"""What an engine answers that knows names, and the single things of one name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class FoundThings(NamedTuple):
    """The single things in one frame.

    Attributes:
        masks: (I, P, P) bool, where each is.
        classes: (I,) uint8, its class.
        numbers: (P, P) uint8, at each pixel the thing that sounds there most likely, counted from 1; 0 = none.
    """

    masks: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray


class NamedMaps(NamedTuple):
    """What a naming engine answers.

    Attributes:
        probabilities: (B, T, P, P), that a pixel sounds; P is S or less.
        classes: (B, T, P, P) uint8.
        activity: (B, T, K), how surely each of K names sounds.
        things: Of the B * T frames; None from a model that does not tell things of one name apart.
    """

    probabilities: np.ndarray
    classes: np.ndarray
    activity: np.ndarray
    things: list[FoundThings] | None = None
