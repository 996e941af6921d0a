"""From any video to masks of its sounding objects, in bounded memory.

Key frames are prepared block by block (`key_frames`), segmented (`inference`), smoothed over time (`temporal`) and
returned as windows of `result.VideoResult`, which interpolate them to every frame of the source.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import SAMPLE_RATE, Sound, SoundArray, SoundReader, SourceFrame, VideoInfo, probe, stream_frames
from ecmvae.data.video.clips import frames_at_rate
from ecmvae.errors import UserError
from ecmvae.prediction.engine import Engine, NamingEngine, open_engine
from ecmvae.prediction.inference import predict_key_frames
from ecmvae.prediction.key_frames import read_key_frames, sound_around
from ecmvae.prediction.options import EngineName, PredictorOptions
from ecmvae.prediction.result import FrameResult, VideoResult
from ecmvae.prediction.temporal import smoothed

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn
else:
    Image = nn = Any  # neither is needed to predict a video

_LOUDNESS_WINDOW = 0.1  # seconds
_QUIET_DB = -60.0


class VideoPredictor:
    """Segments the sounding objects of videos.

    Example:
        >>> predictor = VideoPredictor("runs/demo")  # doctest: +SKIP
        >>> result = predictor.predict("dog.mp4")  # doctest: +SKIP
        >>> result.save("dog.overlay.mp4")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Engine | nn.Module | str | Path | None = None,
        device: str = "auto",
        options: PredictorOptions | None = None,
        *,
        engine: EngineName = "auto",
        trust_code: bool = False,
    ) -> None:
        """Load a model.

        Args:
            model: A module, such as a `Segmenter`, whether a configuration describes it or not; the path of a model
                folder or run or of an exported `.onnx` file; a name of `ecmvae models`, or ``hf://owner/name`` on the
                hub; None for the packaged model, else the newest `runs/demo`; or an engine.
            device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
            options: None = the defaults.
            engine: What runs the model, see `ecmvae.prediction.engine.open_engine`.
            trust_code: Import the classes that the model's configuration names by import path.

        Raises:
            UserError: If the model, device or engine does not exist, the model has no audio encoder, or it lacks a
                member of `ecmvae.prediction.torch_engine.ClipModel`.
        """
        self.options = options or PredictorOptions()
        self._open = partial(open_engine, model, device, engine=engine, trust_code=trust_code)
        self.engine = self._open(self.options)

    def predict(self, path: str | Path) -> VideoResult:
        """Masks of a whole video.

        The result holds small maps: at most 0.8 MB per second of video at 224 pixels and four key frames a second.

        Args:
            path: Any video that FFmpeg reads.

        Raises:
            UserError: When the file cannot be read.
        """
        return VideoResult.join(list(self.stream(path)))

    def stream(self, path: str | Path | VideoInfo) -> Iterator[VideoResult]:
        """Masks of a video window by window, with memory that does not depend on its length.

        A window is about T seconds long (T frames a clip, 5 by default), more when `options.batch` asks for it.

        Args:
            path: Any video that FFmpeg reads; its `VideoInfo` if it was probed already.

        Yields:
            Results of consecutive windows; together they hold every frame of the video once.

        Raises:
            UserError: When the file cannot be read.
        """
        info = path if isinstance(path, VideoInfo) else probe(path)
        geometry = self._geometry(info.height, info.width, info.sample_aspect)
        # Two readers, because key frames are prepared ahead of the frames that are given out.
        with self._sound(info) as sound, self._sound(info, warn=False) as loudness:
            yield from self._windows(stream_frames(info.path), geometry, sound, loudness, info.path)

    def predict_arrays(
        self,
        frames: UInt8[np.ndarray, "f h w 3"],
        fps: float,
        waveform: Float[np.ndarray, " s"],
        sample_rate: int = SAMPLE_RATE,
    ) -> VideoResult:
        """Masks of frames and sound that are in memory; without a video, the result cannot be saved as one.

        Args:
            frames: (F, H, W, 3) uint8 RGB; PIL pictures become this by `np.stack`.
            fps: Frames a second.
            waveform: (S,) mono in [-1, 1], from the first frame on; silence follows where it is too short.
            sample_rate: Of the waveform, in Hz.

        Raises:
            UserError: When there is no frame, or frames or sound have another form.
        """
        check_frames(frames)
        check_sound(waveform, sample_rate)
        if not fps > 0:
            raise UserError(f"fps is a number of frames a second above 0, got {fps}")
        sound = SoundArray(_resampled(waveform, sample_rate, self.engine.sample_rate), self.engine.sample_rate)
        shown = (SourceFrame(index, index / fps, 1 / fps, frame) for index, frame in enumerate(frames))
        geometry = self._geometry(*frames.shape[1:3])
        return VideoResult.join(list(self._windows(shown, geometry, sound, sound, None)))

    def predict_image(
        self,
        image: Image | UInt8[np.ndarray, "h w 3"],
        waveform: Float[np.ndarray, " s"],
        sample_rate: int = SAMPLE_RATE,
    ) -> FrameResult:
        """The mask of one picture with the middle of a sound.

        The picture stands alone, so nothing is averaged over time; `.uncertainty` is that of `options.samples` masks.

        Args:
            image: A PIL picture of any mode, or (H, W, 3) uint8 RGB.
            waveform: (S,) mono in [-1, 1]; if it is shorter than what the front end takes, silence follows.
            sample_rate: Of the waveform, in Hz.

        Raises:
            UserError: When picture or sound have another form.
        """
        check_sound(waveform, sample_rate)
        pixels = image if isinstance(image, np.ndarray) else np.array(image.convert("RGB"))
        rate = 1 / max(len(waveform) / sample_rate, self.engine.seconds)  # one key frame, in the middle
        once = self.with_options(replace(self.options, fps=rate))
        return once.predict_arrays(pixels[None], rate, waveform, sample_rate).frame(0)

    def with_options(self, options: PredictorOptions) -> VideoPredictor:
        """The same model with other options; draws of the latents take another engine than an exported model's."""
        other = copy.copy(self)
        other.options = options
        if options.concepts != self.options.concepts and isinstance(self.engine, NamingEngine):
            other.engine = self.engine.with_concepts(options.concepts)
        elif (self.engine.name == "onnx" and options.samples > 1) or options.concepts is not None:
            other.engine = self._open(options)
        return other

    def _geometry(self, height: int, width: int, sample_aspect: Fraction = Fraction(1)) -> Letterbox:
        squash = self.options.squash
        side = self.engine.image_size
        return Letterbox(height=height, width=width, side=side, squash=squash, sample_aspect=sample_aspect)

    def _sound(self, info: VideoInfo, *, warn: bool = True) -> SoundReader:
        rate, track = self.engine.sample_rate, self.options.audio_track
        return SoundReader(info.path, sample_rate=rate, track=track, origin=info.start, warn=warn)

    def _windows(
        self, frames: Iterator[SourceFrame], geometry: Letterbox, sound: Sound, loudness: Sound, path: Path | None
    ) -> Iterator[VideoResult]:
        options = self.options
        frame_times: deque[float] = deque()
        keys = frames_at_rate(_noting_times(frames, frame_times), options.fps)
        read = partial(read_key_frames, keys, sound, geometry, self.engine)
        blocks = predict_key_frames(self.engine, options, read, geometry)
        first_index = 0
        for keys_done in smoothed(blocks, options.smoothing * options.fps):
            end = float("inf") if keys_done.last else float(keys_done.times[-1])
            shown = [frame_times.popleft() for _ in range(sum(time < end for time in frame_times))]
            if not shown:
                continue
            yield VideoResult(
                path=path,
                geometry=geometry,
                threshold=options.threshold,
                first_index=first_index,
                audio_track=options.audio_track,
                timestamps=np.asarray(shown, np.float64),
                audio_activity=_activity(loudness, shown),
                key_times=keys_done.times,
                key_probabilities=keys_done.probabilities.astype(np.float16),
                key_classes=keys_done.classes,
                class_names=tuple(self.engine.class_names),
                key_activity=None if keys_done.activity is None else keys_done.activity.astype(np.float16),
            )
            first_index += len(shown)


def _resampled(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """As the training data is resampled, which takes PyTorch; a video's own sound is resampled while it is decoded."""
    if rate == new_rate:
        return waveform.astype(np.float32)
    import torch

    from ecmvae.audio.io import resample

    resampled: np.ndarray = resample(torch.from_numpy(waveform).float(), rate, new_rate).numpy()
    return resampled


def _noting_times(frames: Iterator[SourceFrame], times: deque[float]) -> Iterator[SourceFrame]:
    for frame in frames:
        times.append(frame.time)
        yield frame


def _activity(sound: Sound, times: list[float]) -> Float[np.ndarray, " f"]:
    """Loudness around each time, from -60 dB (0) to full scale (1)."""
    power = np.array([np.square(sound_around(sound, time, _LOUDNESS_WINDOW)).mean() for time in times])
    return np.clip(1 - 10 * np.log10(power + 1e-12) / _QUIET_DB, 0, 1).astype(np.float32)


def check_frames(frames: np.ndarray) -> None:
    """Refuse what is not (F, H, W, 3) uint8 RGB, F > 0: floats in [0, 1] or grey pictures would give wrong masks."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise UserError(f"frames are (F, H, W, 3) uint8 RGB, got {frames.dtype} {frames.shape}")
    if not frames.size:
        raise UserError("there is no frame to look at")


def check_sound(waveform: np.ndarray, sample_rate: int) -> None:
    """Refuse what is not (S,) float in [-1, 1], finite, at a rate in Hz: whole numbers would be far too loud."""
    if waveform.ndim != 1:
        raise UserError(f"a waveform is mono, (S,), got {waveform.shape}: take the mean of its channels")
    if waveform.dtype.kind != "f":
        raise UserError(f"a waveform is float in [-1, 1], got {waveform.dtype}: divide int16 by 32768")
    if not np.isfinite(waveform).all():
        raise UserError("the waveform holds NaN or infinity")
    if sample_rate < 1:
        raise UserError(f"sample_rate is a number of Hz, got {sample_rate}")
