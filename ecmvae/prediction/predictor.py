"""From any video to masks of its sounding objects, in bounded memory.

Key frames are prepared block by block (`key_frames`), segmented (`inference`), smoothed over time (`temporal`) and
returned as windows of `result.VideoResult`, which interpolate them to every frame of the source.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float, UInt8

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import (
    SAMPLE_RATE,
    OpenVideo,
    Sound,
    SoundArray,
    SoundReader,
    SourceFrame,
    VideoInfo,
    probe,
)
from ecmvae.data.video.clips import frames_at_rate
from ecmvae.data.video.sound import resample_array
from ecmvae.errors import UserError
from ecmvae.prediction.engine import Engine, NamingEngine, open_engine
from ecmvae.prediction.halves import to_half
from ecmvae.prediction.hearing import HeardSound, listen
from ecmvae.prediction.inference import predict_key_frames
from ecmvae.prediction.inputs import (
    as_frames,
    as_rgb,
    as_source_frames,
    as_waveform,
    check_frames,
    check_sound,
    count_frames,
    is_path,
)
from ecmvae.prediction.key_frames import KeyFrameReader, sound_around
from ecmvae.prediction.measures import loudness
from ecmvae.prediction.options import EngineName, PredictorOptions
from ecmvae.prediction.result import FrameResult, VideoResult
from ecmvae.prediction.temporal import smoothed

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn
else:
    Image = nn = Any  # neither is needed to predict a video

_LOUDNESS_WINDOW = 0.1  # seconds


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

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self,
        source: str | Path,
        *,
        waveform: Any = None,
        sample_rate: int = SAMPLE_RATE,
        fps: None = None,
    ) -> VideoResult: ...

    @overload
    def predict(self, source: Sequence[str | Path]) -> list[VideoResult]: ...

    @overload
    def predict(
        self,
        source: Any,
        *,
        waveform: Any,
        sample_rate: int = SAMPLE_RATE,
        fps: float | None = None,
    ) -> VideoResult: ...

    def predict(
        self,
        source: Any,
        *,
        waveform: Any = None,
        sample_rate: int = SAMPLE_RATE,
        fps: float | None = None,
    ) -> VideoResult | list[VideoResult]:
        """Masks of a whole video, of several, or of pictures with their sound; `predictor(source)` is the same.

        A result holds small maps: at most 0.8 MB per second of video at 224 pixels and four key frames a second.

        Args:
            source: The path of any video that FFmpeg reads; a list of such paths; one picture; or pictures: a NumPy
                array (F, H, W, 3), a tensor (F, 3, H, W), a list, a generator. Pictures are PIL, NumPy or PyTorch,
                uint8 or floats in [0, 1].
            waveform: The sound from the first picture on, NumPy or PyTorch: (S,), or (C, S) whose channels are
                averaged; floats in [-1, 1] or int16. Pictures need one; with a path it replaces the video's own.
            sample_rate: Of the waveform, in Hz.
            fps: Pictures a second; None = the waveform lasts as long as the pictures.

        Returns:
            A `VideoResult`, or a list of them for a list of paths.

        Raises:
            UserError: When a file cannot be read, or pictures or sound are of another form.
        """
        if is_path(source):
            if fps is not None:
                raise UserError("a video has its own frame rate: leave fps out")
            sound = (
                None
                if waveform is None
                else self._sound_array(as_waveform(waveform, sample_rate), sample_rate)
            )
            return VideoResult.join(list(self.stream(Path(source), sound)))
        if isinstance(source, list | tuple) and source and all(is_path(each) for each in source):
            if waveform is not None or fps is not None:
                raise UserError(
                    "waveform and fps go with pictures or one video, not with a list of paths"
                )
            return [self.predict(each) for each in source]
        if isinstance(source, int | float) or (isinstance(source, list | tuple) and not source):
            raise UserError(
                f"predict takes a path, a list of paths, or pictures with their sound, not {source!r}"
            )
        if waveform is None:
            raise UserError("pictures have no sound of their own: pass waveform= and sample_rate=")
        samples, count = as_waveform(waveform, sample_rate), count_frames(source)
        if fps is None:
            if count is None or not len(samples):
                raise UserError(
                    "pass fps=, the pictures a second: it does not follow from the pictures and the sound"
                )
            fps = count * sample_rate / len(samples)
        return self._predict_frames(as_frames(source), fps, samples, sample_rate)

    __call__ = predict

    def stream(
        self, path: str | Path | VideoInfo | OpenVideo, sound: SoundArray | None = None
    ) -> Iterator[VideoResult]:
        """Masks of a video window by window, with memory that does not depend on its length.

        A window is about T seconds long (T frames a clip, 5 by default), more when `options.batch` asks for it.

        Args:
            path: Any video that FFmpeg reads; or its `VideoInfo`; or, if it is open already, the `OpenVideo`, whose
                frames are used up and which stays open.
            sound: Heard in place of the video's own, at the engine's sample rate.

        Yields:
            Results of consecutive windows; together they hold every frame of the video once.

        Raises:
            UserError: When the file cannot be read.
        """
        if not isinstance(path, OpenVideo):
            with OpenVideo(path.path if isinstance(path, VideoInfo) else path) as video:
                yield from self.stream(video, sound)
            return
        info, frames = path.info, path.frames()
        geometry = self._geometry(info.height, info.width, info.sample_aspect)
        if sound is not None:
            yield from self._windows(frames, geometry, sound, sound, info.path)
            return
        with self._sound(info) as heard:
            # Key frames are prepared ahead of the frames that are given out.
            yield from self._windows(frames, geometry, heard, heard.follower(), info.path)

    def heard(self, path: str | Path | VideoInfo) -> tuple[HeardSound, ...]:
        """What is heard in a video, by AudioSet's names and most probable first, whatever the model knows.

        At most 60 moments of a video are listened to.

        Raises:
            UserError: When the file cannot be read.
        """
        info = path if isinstance(path, VideoInfo) else probe(path)
        track = self.options.audio_track
        with SoundReader(info.path, track=track, origin=info.start, warn=False) as sound:
            return listen(sound, info.duration or 0.0)

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
        return self._predict_frames(iter(frames), fps, waveform, sample_rate)

    def _predict_frames(
        self, frames: Iterator[np.ndarray], fps: float, waveform: np.ndarray, sample_rate: int
    ) -> VideoResult:
        if not fps > 0:
            raise UserError(f"fps is a number of frames a second above 0, got {fps}")
        first = next(frames)
        sound = self._sound_array(waveform, sample_rate)
        shown = as_source_frames(chain([first], frames), fps)
        return VideoResult.join(
            list(self._windows(shown, self._geometry(*first.shape[:2]), sound, sound, None))
        )

    def _sound_array(self, waveform: np.ndarray, sample_rate: int) -> SoundArray:
        return SoundArray(
            _resampled(waveform, sample_rate, self.engine.sample_rate), self.engine.sample_rate
        )

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
        pixels = as_rgb(image)
        # one key frame, in the middle
        rate = 1 / max(len(waveform) / sample_rate, self.engine.seconds)
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

    def _geometry(
        self, height: int, width: int, sample_aspect: Fraction = Fraction(1)
    ) -> Letterbox:
        squash = self.options.squash
        side = self.engine.image_size
        return Letterbox(
            height=height, width=width, side=side, squash=squash, sample_aspect=sample_aspect
        )

    def _sound(self, info: VideoInfo) -> SoundReader:
        rate, track = self.engine.sample_rate, self.options.audio_track
        return SoundReader(info.path, sample_rate=rate, track=track, origin=info.start)

    def _windows(
        self,
        frames: Iterator[SourceFrame],
        geometry: Letterbox,
        sound: Sound,
        loudness: Sound,
        path: Path | None,
    ) -> Iterator[VideoResult]:
        options = self.options
        frame_times: deque[float] = deque()
        keys = frames_at_rate(_noting_times(frames, frame_times), options.fps)
        reader = KeyFrameReader(keys, sound, geometry, self.engine)
        blocks = predict_key_frames(self.engine, options, reader)
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
                key_probabilities=to_half(keys_done.probabilities),
                key_classes=keys_done.classes,
                class_names=tuple(self.engine.class_names),
                key_activity=None
                if keys_done.activity is None
                else keys_done.activity.astype(np.float16),
                key_things=keys_done.things,
            )
            first_index += len(shown)
            del keys_done  # while the next block is predicted


def _resampled(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """As the training data is resampled; without PyTorch as a video's own sound is."""
    if rate == new_rate or not len(waveform):
        return waveform.astype(np.float32)
    if find_spec("torch") is None:
        return resample_array(waveform, rate, new_rate)
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
    return loudness(np.stack([sound_around(sound, time, _LOUDNESS_WINDOW) for time in times]))
