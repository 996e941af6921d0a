"""What is heard in a video, by AudioSet's names: YAMNet, which comes with ecmvae, whatever model predicts the masks."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ecmvae.audio.log_mel import SAMPLE_RATE, YAMNET_OFFSET, log_mel_patch
from ecmvae.data.video import Sound
from ecmvae.foundation.names import yamnet_names
from ecmvae.hub.catalogue import PACKAGED_YAMNET
from ecmvae.hub.named_models import GRAPH_FILE
from ecmvae.prediction.key_frames import sound_around
from ecmvae.prediction.onnx_engine import open_session

_MOST_SECONDS = 60
_AUDIBLE = 0.1
"""Probability below which a name is not worth mentioning."""


class HeardSound(NamedTuple):
    """A name, and the highest probability in [0, 1] that it sounds at some time."""

    name: str
    probability: float

    def __str__(self) -> str:
        return f"{self.name} {self.probability:.2f}"


class Tagger:
    """YAMNet in onnxruntime, or in PyTorch where that is not installed.

    Attributes:
        names: Of the 521 sounds.
    """

    sample_rate, seconds = SAMPLE_RATE, 1.0

    def __init__(self) -> None:
        self.names = yamnet_names()
        self._run = _in_onnxruntime() if find_spec("onnxruntime") else _in_pytorch()

    def __call__(self, waveforms: Float[np.ndarray, "n s"]) -> Float[np.ndarray, "n k"]:
        """Probabilities of the names in each second of sound, (n, 16000) in [-1, 1] -> (n, 521)."""
        return self._run(log_mel_patch(waveforms, YAMNET_OFFSET))


def _in_onnxruntime() -> Callable[[np.ndarray], np.ndarray]:
    session = open_session(PACKAGED_YAMNET / GRAPH_FILE)

    def run(patches: np.ndarray) -> np.ndarray:
        scores: np.ndarray = session.run(["scores"], {"patches": patches})[0]
        return scores

    return run


def _in_pytorch() -> Callable[[np.ndarray], np.ndarray]:
    import torch

    from ecmvae.foundation.audio.yamnet import YAMNet

    encoder = YAMNet.from_weights().eval()

    def run(patches: np.ndarray) -> np.ndarray:
        scores: np.ndarray = encoder.listen(torch.from_numpy(patches)).numpy()
        return scores

    return run


def listen(
    sound: Sound,
    seconds: float,
    tagger: Callable[[Float[np.ndarray, "n s"]], Float[np.ndarray, "n k"]] | None = None,
) -> tuple[HeardSound, ...]:
    """The names of what is heard, most probable first.

    Args:
        sound: At 16 kHz; it is read forward from its start.
        seconds: How long it is. Of a long one, 60 moments at equal distances are listened to.
        tagger: None = a `Tagger`.

    Returns:
        The names whose probability reaches 0.1 at some time.
    """
    count = int(np.clip(np.ceil(seconds), 1, _MOST_SECONDS))
    times = (np.arange(count) + 0.5) * max(seconds, 1.0) / count
    waveforms = np.stack([sound_around(sound, float(time), Tagger.seconds) for time in times])
    highest = (tagger or Tagger())(waveforms).max(axis=0)
    names = yamnet_names()
    return tuple(
        HeardSound(names[k], float(highest[k]))
        for k in np.argsort(-highest, kind="stable")
        if highest[k] >= _AUDIBLE
    )
