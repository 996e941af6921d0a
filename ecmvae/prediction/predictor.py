"""Any video in, sounding objects out, in bounded memory.

The picture is cut into *key frames*, `fps` of them a second, each at the middle of its step and with the second of
sound around it. The model was trained on clips of T frames that lie one second apart (AVSBench, AVS-Collage), and its
attention looks across all frames of a clip; so key frames are not fed in a row but *interleaved*. At four key frames a
second, a block of T seconds becomes four clips::

    clip 0:  0.125  1.125  2.125  3.125  4.125 s
    clip 1:  0.375  1.375  2.375  3.375  4.375 s
    clip 2:  0.625  ...
    clip 3:  0.875  ...

so that every clip has the spacing and the span of a training clip, and every second of sound is heard in each. Block
follows block; the last one reaches back so that it, too, spans T seconds where the video is that long.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL.Image import Image
from torch import Tensor, nn

from ecmvae.audio.io import resample
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import SAMPLE_RATE, Sound, SoundArray, SoundReader, SourceFrame, probe, stream_frames
from ecmvae.data.video.clips import frames_at_rate
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.hub.default_model import default_model
from ecmvae.models import Segmenter
from ecmvae.models.checkpoint import load_model
from ecmvae.prediction.arrays import check_frames, check_sound
from ecmvae.prediction.classes import foreground_and_classes
from ecmvae.prediction.export import OnnxModel
from ecmvae.prediction.memory import release_free_memory
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.result import FrameResult, VideoResult
from ecmvae.prediction.temporal import SmoothedTail

_SECOND = SAMPLE_RATE  # samples heard with each key frame
_LOUDNESS_WINDOW = 0.1  # seconds
_QUIET_DB = -60.0


class VideoPredictor:
    """Cuts the sounding objects out of videos.

    Example:
        >>> predictor = VideoPredictor("runs/demo")  # doctest: +SKIP
        >>> result = predictor.predict("dog.mp4")  # doctest: +SKIP
        >>> result.save("dog.overlay.mp4")  # doctest: +SKIP
    """

    def __init__(
        self,
        model_or_path: nn.Module | str | Path | None = None,
        device: str = "auto",
        options: PredictorOptions | None = None,
    ) -> None:
        """Load a model.

        Args:
            model_or_path: A model; the path of a model folder or run or of an exported `.onnx` file (which runs
                on the CPU); a name of `ecmvae models`, or ``hf://owner/name`` on the hub; or None for the packaged
                model, else the newest `runs/demo`.
            device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
            options: How videos are looked at; None = the defaults.

        Raises:
            UserError: When there is no such model or device.
        """
        self.device = choose_device(device)
        self.options = options or PredictorOptions()
        self.model: Segmenter | OnnxModel
        if isinstance(model_or_path, nn.Module):
            self.model = cast(Segmenter, model_or_path.to(self.device).eval())
        elif model_or_path is not None and str(model_or_path).endswith(".onnx"):
            self.device = torch.device("cpu")
            self.model = OnnxModel(Path(model_or_path))
        else:
            self.model = load_model(default_model() if model_or_path is None else model_or_path, self.device)
        self.class_names: tuple[str, ...] = tuple(getattr(self.model, "class_names", ()))
        self.image_size: int = self.model.image_size
        self.num_frames: int = self.model.num_frames

    def predict(self, path: str | Path) -> VideoResult:
        """Masks of a whole video.

        The result holds small maps: at most 0.8 MB per second of video at 224 pixels and four key frames a second.

        Args:
            path: Any video that FFmpeg reads.

        Raises:
            UserError: When the file cannot be read.
        """
        return VideoResult.join(list(self.stream(path)))

    def stream(self, path: str | Path) -> Iterator[VideoResult]:
        """Masks of a video window by window, with memory that does not depend on its length.

        A window is about T seconds long (T frames a clip, 5 by default), more when `options.batch` asks for it.

        Args:
            path: Any video that FFmpeg reads.

        Yields:
            Results of consecutive windows; together they hold every frame of the video once.

        Raises:
            UserError: When the file cannot be read.
        """
        path = Path(path)
        info = probe(path)
        track = self.options.audio_track
        geometry = self._geometry(info.height, info.width, info.sample_aspect)
        # Two readers, because key frames are prepared ahead of the frames that are given out.
        with (
            SoundReader(path, track=track, origin=info.start) as sound,
            SoundReader(path, track=track, origin=info.start, warn=False) as loudness,
        ):
            yield from self._windows(stream_frames(path), geometry, sound, loudness, path)

    def predict_arrays(
        self,
        frames: UInt8[np.ndarray, "f h w 3"],
        fps: float,
        waveform: Float[np.ndarray, " s"],
        sample_rate: int = SAMPLE_RATE,
    ) -> VideoResult:
        """Masks of frames and sound that are in memory; the result has no video to be drawn over.

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
        heard = resample(torch.from_numpy(waveform).float(), sample_rate).numpy()
        sound = SoundArray(heard)
        shown = (SourceFrame(index, index / fps, 1 / fps, frame) for index, frame in enumerate(frames))
        geometry = self._geometry(*frames.shape[1:3])
        return VideoResult.join(list(self._windows(shown, geometry, sound, sound, None)))

    def predict_image(
        self,
        image: Image | UInt8[np.ndarray, "h w 3"],
        waveform: Float[np.ndarray, " s"],
        sample_rate: int = SAMPLE_RATE,
    ) -> FrameResult:
        """The mask of one picture; heard is the second in the middle of the sound.

        The picture stands alone, so nothing is averaged over time; `.uncertainty` is that of `options.samples` masks.

        Args:
            image: A PIL picture of any mode, or (H, W, 3) uint8 RGB.
            waveform: (S,) mono in [-1, 1]; shorter than a second it is followed by silence.
            sample_rate: Of the waveform, in Hz.

        Raises:
            UserError: When picture or sound have another form.
        """
        check_sound(waveform, sample_rate)
        pixels = image if isinstance(image, np.ndarray) else np.array(image.convert("RGB"))
        rate = 1 / max(len(waveform) / sample_rate, 1.0)  # one key frame, in the middle
        once = self.with_options(replace(self.options, fps=rate))
        return once.predict_arrays(pixels[None], rate, waveform, sample_rate).frame(0)

    def with_options(self, options: PredictorOptions) -> VideoPredictor:
        """The same model, looking at videos in another way."""
        other = copy.copy(self)
        other.options = options
        return other

    def _geometry(self, height: int, width: int, sample_aspect: Fraction = Fraction(1)) -> Letterbox:
        squash = self.options.squash
        return Letterbox(height=height, width=width, side=self.image_size, squash=squash, sample_aspect=sample_aspect)

    def _windows(
        self, frames: Iterator[SourceFrame], geometry: Letterbox, sound: Sound, loudness: Sound, path: Path | None
    ) -> Iterator[VideoResult]:
        options = self.options
        frame_times: deque[float] = deque()
        keys = frames_at_rate(_noting_times(frames, frame_times), options.fps)
        tail = SmoothedTail(options.smoothing * options.fps)
        first_index = 0
        for times, maps, classes, last in self._predicted_blocks(keys, geometry, sound):
            tail.append(times, maps, classes)
            ready = tail.take(last=last)
            if ready is None:
                continue
            key_times, smoothed, key_classes = ready
            end = float("inf") if last else float(key_times[-1])
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
                key_times=key_times,
                key_probabilities=smoothed.half(),
                key_uncertainty=binary_entropy(smoothed).half(),
                key_classes=key_classes,
                class_names=self.class_names,
            )
            first_index += len(shown)

    def _predicted_blocks(
        self, keys: Iterator[tuple[float, SourceFrame]], geometry: Letterbox, sound: Sound
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None, bool]]:
        """Times (n,), probabilities and classes (n, h, w) of successive key frames, and whether they are the last."""
        block = self.num_frames * self.options.stride * max(self.options.batch // self.options.stride, 1)
        clip = self.num_frames * self.options.stride
        before: list[tuple[float, Tensor, Tensor]] = []  # prepared key frames of the block before
        current = self._prepared(keys, block, geometry, sound)
        while current:
            following = self._prepared(keys, block, geometry, sound)
            context = before[-(clip - len(current)) :] if len(current) < clip else []
            together = context + current
            frames = torch.stack([frame for _, frame, _ in together])
            log_mel = torch.stack([patch for _, _, patch in together])
            probabilities, classes = self.answers(frames, log_mel)
            release_free_memory()  # before the frames are drawn and encoded
            times = torch.tensor([time for time, _, _ in current], dtype=torch.float64)
            fresh = slice(len(context), None)
            kinds = None if classes is None else geometry.crop(classes[fresh])
            yield times, geometry.crop(probabilities[fresh]), kinds, not following
            before, current = current, following

    def _prepared(
        self, keys: Iterator[tuple[float, SourceFrame]], count: int, geometry: Letterbox, sound: Sound
    ) -> list[tuple[float, Tensor, Tensor]]:
        """The next key frames: time, frame (3, S, S) and log-mel patch (1, 96, 64) of the second around it."""
        prepared = []
        shown: tuple[int, Tensor] | None = None  # a slow video shows one frame for many steps
        for time, frame in islice(keys, count):
            if shown is None or shown[0] != frame.index:
                shown = (frame.index, geometry.fit(frame.rgb()))
            start = round((time - 0.5) * SAMPLE_RATE)
            heard = torch.from_numpy(sound.read(start, start + _SECOND))
            prepared.append((time, shown[1], log_mel_patches(heard, SAMPLE_RATE, 1.0, num_patches=1)[0]))
        return prepared

    @torch.inference_mode()
    def answers(
        self, frames: Float[Tensor, "n 3 s s"], log_mel: Float[Tensor, "n 1 96 64"]
    ) -> tuple[Float[Tensor, "n s s"], UInt8[Tensor, "n s s"] | None]:
        """Probabilities and classes of equally spaced key frames, fed to the model as interleaved clips.

        Args:
            frames: (n, 3, S, S) ImageNet-normalised, `options.fps` a second.
            log_mel: (n, 1, 96, 64), the sound around each.

        Returns:
            Both (n, S, S) on the CPU: probability that something sounds, float32, the mean over the latent samples;
            the likeliest class but the background, or None from a model that knows no classes.

        Raises:
            UserError: When the model answers NaN.
        """
        result = frames.new_empty(frames.shape[0], *frames.shape[2:])
        several: Tensor | None = None
        for clips in interleaved_clips(len(frames), self.num_frames, self.options.stride, self.options.batch):
            pictures = frames[clips].to(self.device)  # (B, T, 3, S, S)
            patches = log_mel[clips].to(self.device)
            with self._precision(), torch.random.fork_rng(self._rng_devices()):
                torch.manual_seed(self.options.seed)  # the same noise in every block: less flicker
                audio = self.model.encode_audio(patches)
                if self.options.samples == 1:
                    logits = self.model(pictures, audio, latents="mean").logits[None]
                else:
                    logits = self.model.sample_logits(pictures, audio, self.options.samples)
            if torch.isnan(logits).any():
                raise UserError("the model answers NaN: its checkpoint is broken, or --half is too coarse for it")
            probability, classes = foreground_and_classes(logits.float())
            result[clips] = probability.cpu()
            if classes is not None:
                several = torch.empty(result.shape, dtype=torch.uint8) if several is None else several
                several[clips] = classes.cpu()
        return result, several

    def _precision(self) -> torch.autocast | nullcontext[None]:
        if not self.options.half:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.device.type == "cpu" else torch.float16)

    def _rng_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []


def interleaved_clips(count: int, num_frames: int, stride: int, batch: int) -> Iterator[Tensor]:
    """Index tables (B, T) that put `count` key frames into clips of frames `stride` apart.

    Every frame is in a clip. Where `count` is no multiple of T * stride, the last clips reach back over frames that
    earlier ones hold already, so that they are full; clips are short only where there are not that many frames at all.

    Args:
        count: Key frames at hand.
        num_frames: T of a full clip.
        stride: Key frames from one frame of a clip to the next.
        batch: Clips a table at most.

    Yields:
        Tables of clips of equal length.
    """
    span = num_frames * stride
    starts = [min(start, max(count - span, 0)) for start in range(0, count, span)]
    clips = [
        torch.arange(start + phase, min(start + span, count), stride)
        for start in starts
        for phase in range(min(stride, count - start))
    ]
    waiting: list[Tensor] = []
    for clip in clips:
        if waiting and (len(waiting) == batch or len(clip) != len(waiting[0])):
            yield torch.stack(waiting)
            waiting = []
        waiting.append(clip)
    if waiting:
        yield torch.stack(waiting)


def binary_entropy(probability: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Entropy in bits of a yes-no answer: 0 where the probability is 0 or 1, 1 where it is one half."""
    inside = probability.clamp(1e-6, 1 - 1e-6)
    return -(inside * inside.log2() + (1 - inside) * (1 - inside).log2())


def _noting_times(frames: Iterator[SourceFrame], times: deque[float]) -> Iterator[SourceFrame]:
    for frame in frames:
        times.append(frame.time)
        yield frame


def _activity(sound: Sound, times: list[float]) -> Float[np.ndarray, " f"]:
    """Loudness around each time, from -60 dB (0) to full scale (1)."""
    width = round(_LOUDNESS_WINDOW * SAMPLE_RATE)
    levels = np.zeros(len(times), np.float32)
    for index, time in enumerate(times):
        start = round(time * SAMPLE_RATE) - width // 2
        power = float(np.square(sound.read(start, start + width)).mean())
        levels[index] = np.clip(1 - 10 * np.log10(power + 1e-12) / _QUIET_DB, 0, 1)
    return levels
