"""The model on key frames: block after block, each as interleaved clips (see `ecmvae.prediction.key_frames`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ecmvae.data.letterbox import Letterbox
from ecmvae.errors import UserError
from ecmvae.prediction.classes import foreground_and_classes
from ecmvae.prediction.key_frames import KeyFrameReader, KeyFrames, interleaved_clips
from ecmvae.prediction.memory import release_free_memory
from ecmvae.prediction.model import ClipModel
from ecmvae.prediction.options import PredictorOptions


class KeyFrameInference:
    """Runs a model on key frames.

    Args:
        model: On `device`.
        device: Device of the model.
        options: Clips at a time, samples, seed and precision.
    """

    def __init__(self, model: ClipModel, device: torch.device, options: PredictorOptions) -> None:
        self.model, self.device, self.options = model, device, options

    def blocks(
        self, reader: KeyFrameReader, geometry: Letterbox
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None, bool]]:
        """Predict block after block; the last reaches back so that it, too, spans T seconds if the video is that long.

        Yields:
            Times (n,), probabilities and classes (n, h, w) of successive key frames, and whether they are the last.
        """
        clip = self.model.num_frames * self.options.stride
        block = clip * max(self.options.batch // self.options.stride, 1)
        before: KeyFrames | None = None
        current = reader.read(block)
        while current is not None:
            following = reader.read(block)
            missing = clip - len(current)
            together = current.led_by(before, missing) if before is not None and missing > 0 else current
            probabilities, classes = self.answers(together.frames, together.features)
            release_free_memory()  # before the frames are drawn and encoded
            fresh = slice(len(together) - len(current), None)
            kinds = None if classes is None else geometry.crop(classes[fresh])
            yield current.times, geometry.crop(probabilities[fresh]), kinds, following is None
            before, current = current, following

    @torch.inference_mode()
    def answers(
        self, frames: Float[Tensor, "n 3 s s"], features: Float[Tensor, "n *f"]
    ) -> tuple[Float[Tensor, "n s s"], UInt8[Tensor, "n s s"] | None]:
        """Probabilities and classes of equally spaced key frames, fed to the model as interleaved clips.

        Args:
            frames: (n, 3, S, S), normalised, `options.fps` a second.
            features: (n, ...), audio features of the sound around each.

        Returns:
            Both (n, S, S) on the CPU: probability that something sounds, float32, the mean over the latent samples;
            the likeliest class but the background, or None from a model that knows no classes.

        Raises:
            UserError: If the model answers NaN.
        """
        result = frames.new_empty(frames.shape[0], *frames.shape[2:])
        several: Tensor | None = None
        for clips in interleaved_clips(len(frames), self.model.num_frames, self.options.stride, self.options.batch):
            pictures = frames[clips].to(self.device)  # (B, T, 3, S, S)
            sounds = features[clips].to(self.device)  # (B, T, ...)
            with self._precision(), torch.random.fork_rng(self._rng_devices()):
                torch.manual_seed(self.options.seed)  # the same noise in every block: less flicker
                audio = self.model.encode_audio(sounds)
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
