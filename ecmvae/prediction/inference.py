"""The model on key frames: block after block, each as interleaved clips (see `ecmvae.prediction.key_frames`)."""

from __future__ import annotations

import ctypes
import logging
import platform
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ecmvae.data.letterbox import Letterbox
from ecmvae.errors import UserError
from ecmvae.models.decoder import foreground_logits
from ecmvae.models.latent_use import UNUSED
from ecmvae.prediction.classes import foreground_and_classes
from ecmvae.prediction.key_frames import KeyFrames, interleaved_clips
from ecmvae.prediction.model import ClipModel
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.temporal import KeyMaps

logger = logging.getLogger(__name__)


def predict_key_frames(
    model: ClipModel,
    device: torch.device,
    options: PredictorOptions,
    read: Callable[[int], KeyFrames | None],
    geometry: Letterbox,
) -> Iterator[KeyMaps]:
    """Predict block after block; the last reaches back so that it, too, spans T seconds if the video is that long.

    Args:
        model: On `device`.
        device: Device of the model.
        options: Clips at a time, samples, seed and precision.
        read: Reads so many key frames, see `read_key_frames`.
        geometry: Its bars are cut off the maps.
    """
    clip = model.num_frames * options.stride
    size = clip * max(options.batch // options.stride, 1)
    before: KeyFrames | None = None
    spread = 0.0
    current = read(size)
    while current is not None:
        following = read(size)
        missing = clip - len(current)
        together = current.led_by(before, missing) if before is not None and missing > 0 else current
        probabilities, classes, apart = _predict_block(model, device, options, together)
        spread = max(spread, apart)
        release_free_memory()  # before the frames are drawn and encoded
        maps = KeyMaps(
            together.times,
            geometry.crop(probabilities),
            None if classes is None else geometry.crop(classes),
            last=following is None,
        )
        yield maps[len(together) - len(current) :]
        before, current = current, following
    if options.samples > 1 and spread < UNUSED:
        logger.warning(
            "the latents of this model change its masks by less than %g: --samples %d adds nothing",
            UNUSED,
            options.samples,
        )


@torch.inference_mode()
def _predict_block(
    model: ClipModel, device: torch.device, options: PredictorOptions, block: KeyFrames
) -> tuple[Float[Tensor, "n s s"], UInt8[Tensor, "n s s"] | None, float]:
    """Probabilities, the mean over the latent samples, and classes of equally spaced key frames, on the CPU.

    The number is how far the samples lie apart: their mean range in the pixels that one of them marks, at most 1.

    Raises:
        UserError: If the model answers NaN.
    """
    result = block.frames.new_empty(len(block), *block.frames.shape[2:])
    numbers: Tensor | None = None
    apart = 0.0
    precision = torch.autocast(
        device.type, torch.bfloat16 if device.type == "cpu" else torch.float16, enabled=options.half
    )
    for clips in interleaved_clips(len(block), model.num_frames, options.stride, options.batch):
        pictures = block.frames[clips].to(device)  # (B, T, 3, S, S)
        with precision, torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(options.seed)  # the same noise in every block: less flicker
            audio = model.encode_audio(block.features[clips].to(device))
            if options.samples == 1:
                logits = model(pictures, audio, latents="mean").logits[None]
            else:
                logits = model.sample_logits(pictures, audio, options.samples)
        if torch.isnan(logits).any():
            raise UserError("the model answers NaN: its checkpoint is broken, or --half is too coarse for it")
        probability, classes = foreground_and_classes(logits.float())
        if options.samples > 1:
            apart = max(apart, _range(foreground_logits(logits.float()).sigmoid()))
        result[clips] = probability.cpu()
        if classes is not None:
            numbers = torch.empty(result.shape, dtype=torch.uint8) if numbers is None else numbers
            numbers[clips] = classes.cpu()
    return result, numbers, apart


def _range(samples: Float[Tensor, "s b t 1 h w"]) -> float:
    """Mean of largest less smallest probability over the pixels that a sample marks; 0 where none does."""
    low, high = samples.aminmax(dim=0)
    marked = high > 0.5
    return float((high - low)[marked].mean()) if bool(marked.any()) else 0.0


def release_free_memory() -> None:
    """Return unused memory of glibc's malloc to the system; without effect where the C library is another.

    Between two blocks, small buffers of decoder and encoder settle in the holes that malloc keeps for later, and over
    an hour the peak creeps up by some 15 %. Handing the holes back takes milliseconds.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
