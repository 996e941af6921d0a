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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from jaxtyping import Float, Float64, Int

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import Sound, SourceFrame
from ecmvae.prediction.engine import Engine


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """Successive key frames, ready for the model.

    Attributes:
        times: (n,) seconds since the first frame of the video.
        frames: (n, 3, S, S), normalised.
        features: (n, ...), what the front end makes of the sound around each.
    """

    times: Float64[np.ndarray, " n"]
    frames: Float[np.ndarray, "n 3 s s"]
    features: Float[np.ndarray, "n *f"]

    def __len__(self) -> int:
        return len(self.times)

    def led_by(self, before: KeyFrames, count: int) -> KeyFrames:
        """These key frames after the last `count` (or all, if fewer) of those before."""
        return KeyFrames(
            np.concatenate([before.times[-count:], self.times]),
            np.concatenate([before.frames[-count:], self.frames]),
            np.concatenate([before.features[-count:], self.features]),
        )


def read_key_frames(
    keys: Iterator[tuple[float, SourceFrame]],
    sound: Sound,
    geometry: Letterbox,
    engine: Engine,
    count: int,
) -> KeyFrames | None:
    """Prepare the next `count` key frames of a video, fewer at the end, or None after the last.

    Args:
        keys: Time and source frame of each key frame.
        sound: The sound of the video, at the engine's rate.
        geometry: From a source frame to the model's square.
        engine: Says how frames are normalised and makes the audio features.
        count: How many to read.
    """
    times: list[float] = []
    frames: list[np.ndarray] = []
    waveforms: list[np.ndarray] = []
    shown: int | None = None  # a slow video shows one frame for many key frames
    for time, frame in islice(keys, count):
        frames.append(
            frames[-1] if shown == frame.index else geometry.fit(frame, engine.normalisation)
        )
        shown = frame.index
        times.append(time)
        waveforms.append(sound_around(sound, time, engine.seconds))
    if not times:
        return None
    return KeyFrames(np.array(times), np.stack(frames), engine.features(np.stack(waveforms)))


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
