"""Key frames: the moments of a video that go through the model, and the clips they form.

The picture is cut into *key frames*, `fps` of them a second, each at the middle of its step and with the sound around
it. The model was trained on clips of T frames that lie one second apart (AVSBench, AVS-Collage), and its attention
looks across all frames of a clip; so key frames are not fed in a row but *interleaved*. At four key frames a second, a
block of T seconds becomes four clips::

    clip 0:  0.125  1.125  2.125  3.125  4.125 s
    clip 1:  0.375  1.375  2.375  3.375  4.375 s
    clip 2:  0.625  ...
    clip 3:  0.875  ...

so that every clip has the spacing and the span of a training clip, and every second of sound is heard in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice

import numpy as np
from jaxtyping import Float, Float64, Int, UInt8

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import Sound, SourceFrame
from ecmvae.prediction.engine import Engine
from ecmvae.visual.normalisation import Normalisation


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """Successive key frames, scaled for the model. As bytes a picture takes a quarter of what the model is given.

    Attributes:
        times: (n,) seconds since the first frame of the video.
        pictures: n of (h, w, 3) uint8 RGB, of the size that they have inside the model's square.
        features: (n, ...), what the front end makes of the sound around each.
    """

    times: Float64[np.ndarray, " n"]
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]]
    features: Float[np.ndarray, "n *f"]

    def __len__(self) -> int:
        return len(self.times)

    def led_by(self, before: KeyFrames, count: int) -> KeyFrames:
        """These key frames after the last `count` (or all, if fewer) of those before."""
        return KeyFrames(
            np.concatenate([before.times[-count:], self.times]),
            [*before.pictures[-count:], *self.pictures],
            np.concatenate([before.features[-count:], self.features]),
        )

    def frames(
        self, which: Int[np.ndarray, "*b"], geometry: Letterbox, normalisation: Normalisation
    ) -> Float[np.ndarray, "*b 3 s s"]:
        """Some key frames as the model takes them: normalised, in its square."""
        side = geometry.side
        placed = np.empty((which.size, 3, side, side), np.float32)
        for place, number in enumerate(which.ravel().tolist()):
            placed[place] = geometry.place(self.pictures[number], normalisation)
        return placed.reshape(*which.shape, 3, side, side)


class KeyFrameReader:
    """Prepares the key frames of a video, block by block.

    Args:
        keys: Time and source frame of each key frame.
        sound: The sound of the video, at the engine's rate.
        geometry: From a source frame to the model's square.
        engine: Makes the audio features.
    """

    def __init__(
        self,
        keys: Iterator[tuple[float, SourceFrame]],
        sound: Sound,
        geometry: Letterbox,
        engine: Engine,
    ) -> None:
        self._keys, self._sound, self._engine = keys, sound, engine
        self.geometry = geometry
        """From a source frame to the model's square."""

    def read(self, count: int) -> KeyFrames | None:
        """The next `count` key frames, fewer at the end, or None after the last."""
        times: list[float] = []
        pictures: list[np.ndarray] = []
        waveforms: list[np.ndarray] = []
        shown: int | None = None  # a slow video shows one frame for many key frames
        for time, frame in islice(self._keys, count):
            pictures.append(
                pictures[-1] if shown == frame.index else frame.rgb(self.geometry.inner)
            )
            shown = frame.index
            times.append(time)
            waveforms.append(sound_around(self._sound, time, self._engine.seconds))
        if not times:
            return None
        features = self._engine.features(np.stack(waveforms))
        return KeyFrames(np.array(times), pictures, features)

    def at_end(self) -> bool:
        """Whether no key frame follows. The video is decoded up to the next one, not further."""
        following = list(islice(self._keys, 1))
        self._keys = chain(following, self._keys)
        return not following


def sound_around(sound: Sound, time: float, seconds: float) -> Float[np.ndarray, " s"]:
    """The sound whose middle is at `time`, (round(sample_rate * seconds),); silence where there is none."""
    start = round((time - seconds / 2) * sound.sample_rate)
    return sound.read(start, start + round(seconds * sound.sample_rate))


def interleaved_clips(
    count: int, num_frames: int, stride: int, batch: int
) -> Iterator[Int[np.ndarray, "b t"]]:
    """Index tables (B, T) that put `count` key frames into clips of T = `num_frames` frames `stride` apart.

    Every frame is in a clip. Where `count` is not a multiple of T * stride, the last clips reach back over frames that
    earlier ones hold already, so that they are full; clips are short only where there are not that many frames at all.
    A table has at most `batch` clips, all of one length.
    """
    span = num_frames * stride
    starts = [min(start, max(count - span, 0)) for start in range(0, count, span)]
    clips = [
        np.arange(start + phase, min(start + span, count), stride)
        for start in starts
        for phase in range(min(stride, count - start))
    ]
    for _, alike in groupby(clips, key=len):
        tables = np.stack(list(alike))
        yield from (tables[start : start + batch] for start in range(0, len(tables), batch))
