"""What a model hears in a video, by the names that its audio encoder was trained with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecmvae.data.video import Sound
from ecmvae.prediction.engine import Engine, ListeningEngine
from ecmvae.prediction.key_frames import sound_around

_MOST_SECONDS = 60
_AUDIBLE = 0.1
"""Probability below which a name is not worth mentioning."""


class HeardSound(NamedTuple):
    """A name, and the highest probability in [0, 1] that it sounds at some time."""

    name: str
    probability: float

    def __str__(self) -> str:
        return f"{self.name} {self.probability:.2f}"


def listen(engine: Engine, sound: Sound, seconds: float) -> tuple[HeardSound, ...]:
    """The names of what an engine hears, most probable first.

    Args:
        engine: One that can name nothing hears nothing.
        sound: At the engine's rate; it is read forward from its start.
        seconds: How long it is. Of a long one, 60 moments at equal distances are listened to.

    Returns:
        The names whose probability reaches 0.1 at some time.
    """
    if not isinstance(engine, ListeningEngine) or not engine.sound_names:
        return ()
    count = int(np.clip(np.ceil(seconds), 1, _MOST_SECONDS))
    times = (np.arange(count) + 0.5) * max(seconds, 1.0) / count
    waveforms = np.stack([sound_around(sound, float(time), engine.seconds) for time in times])
    highest = engine.listen(engine.features(waveforms)).max(axis=0)
    return tuple(
        HeardSound(engine.sound_names[k], float(highest[k]))
        for k in np.argsort(-highest, kind="stable")
        if highest[k] >= _AUDIBLE
    )
