"""What people have in hand, as frames and sound: NumPy, PyTorch, PIL, lists and generators of frames.

Tensors and PIL pictures are recognised by what they can do, so that neither library is imported for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float, UInt8

from ecmvae.data.video import SourceFrame
from ecmvae.errors import UserError

_MOST_CHANNELS = 8  # of a sound, 7.1; a longer first axis holds samples


def is_path(source: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a source is the path of a file."""
    return isinstance(source, str | os.PathLike)


def as_frames(source: Any) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of anything that holds pictures, one after the other.

    Args:
        source: One picture, an array or tensor of pictures, or an iterable of pictures. Pictures are PIL, or arrays or
            tensors (H, W), (H, W, C) or (C, H, W) with C = 1, 3 or 4 (alpha is dropped), uint8 or floats in [0, 1].

    Yields:
        RGB pictures of one size.

    Raises:
        UserError: If there are no frames, a frame has an unsupported type or shape, or sizes differ.
    """
    size = None
    for number, picture in enumerate(_pictures(source)):
        frame = as_rgb(picture, f"frame {number}")
        size = size or frame.shape
        if frame.shape != size:
            raise UserError(
                f"frame {number} is {_size(frame.shape)}, the first {_size(size)}: scale them to one size"
            )
        yield frame
    if size is None:
        raise UserError("no frames were given")


def as_source_frames(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float
) -> Iterator[SourceFrame]:
    """Frames with their number and their time."""
    return (SourceFrame(index, index / fps, 1 / fps, frame) for index, frame in enumerate(frames))


def count_frames(source: Any) -> int | None:
    """How many frames there are; None of a generator, which does not say."""
    if _is_picture(source):
        return 1
    return len(source) if hasattr(source, "__len__") else None


def as_rgb(picture: Any, name: str = "the picture") -> UInt8[np.ndarray, "h w 3"]:
    """One picture as RGB.

    Args:
        picture: See `as_frames`.
        name: What messages call it.

    Raises:
        UserError: If it is not a picture, or has an unsupported type or shape.
    """
    if hasattr(picture, "convert"):  # PIL
        return np.array(picture.convert("RGB"))
    pixels, channels_first = _array(picture, name)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif (
        pixels.ndim == 3
        and _has_channels(pixels, 0)
        and (channels_first or not _has_channels(pixels, 2))
    ):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or not _has_channels(pixels, 2) or not pixels.size:
        raise UserError(
            f"{name} is (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, got {pixels.shape}"
        )
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise UserError(
                f"{name} holds floats outside [0, 1]: divide by 255, and take no normalised picture"
            )
        pixels = np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise UserError(f"{name} is uint8 or floats in [0, 1], got {pixels.dtype}")
    return np.ascontiguousarray(
        np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[..., :3]
    )


def as_waveform(sound: Any, sample_rate: int) -> Float[np.ndarray, " s"]:
    """A sound as mono float32.

    Args:
        sound: Array or tensor (S,), or (C, S) or (S, C) with at most 8 channels, which are averaged; floats in [-1, 1],
            or int16.
        sample_rate: Of the sound, in Hz.

    Raises:
        UserError: If it has an unsupported type or shape, or is not finite.
    """
    waveform, _ = _array(sound, "the waveform")
    if waveform.dtype == np.int16:
        waveform = waveform / np.float32(32768)
    if waveform.ndim == 2 and min(waveform.shape) <= _MOST_CHANNELS:
        waveform = waveform.mean(axis=int(np.argmin(waveform.shape)))
    check_sound(waveform, sample_rate)
    return waveform.astype(np.float32)


def check_frames(frames: np.ndarray) -> None:
    """Refuse what is not (F, H, W, 3) uint8 RGB, F > 0: floats in [0, 1] or grey pictures would give wrong masks."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise UserError(f"frames are (F, H, W, 3) uint8 RGB, got {frames.dtype} {frames.shape}")
    if not frames.size:
        raise UserError("no frames were given")


def check_sound(waveform: np.ndarray, sample_rate: int) -> None:
    """Refuse what is not (S,) float in [-1, 1], finite, at a rate in Hz: whole numbers would be far too loud."""
    if waveform.ndim != 1:
        raise UserError(
            f"a waveform is mono, (S,), got {waveform.shape}: take the mean of its channels"
        )
    if waveform.dtype.kind != "f":
        raise UserError(
            f"a waveform is float in [-1, 1], got {waveform.dtype}: divide int16 by 32768"
        )
    if not np.isfinite(waveform).all():
        raise UserError("the waveform holds NaN or infinity")
    if sample_rate < 1:
        raise UserError(f"sample_rate is a number of Hz, got {sample_rate}")


def _pictures(source: Any) -> Iterable[Any]:
    if _is_picture(source):
        return [source]
    if not isinstance(source, Iterable):
        raise UserError(
            f"unsupported input {type(source).__name__}: give a path, pictures, or an iterable of them"
        )
    return source


def _is_picture(source: Any) -> bool:
    return hasattr(source, "convert") or getattr(source, "ndim", 4) in (2, 3)


def _array(found: Any, name: str) -> tuple[np.ndarray, bool]:
    """The numbers, and whether their library puts channels first."""
    if isinstance(found, np.ndarray):
        return found, False
    if hasattr(found, "detach"):  # PyTorch
        return found.detach().cpu().numpy(), True
    raise UserError(f"{name} is an array, a tensor or a PIL picture, not {type(found).__name__}")


def _has_channels(pixels: np.ndarray, axis: int) -> bool:
    return pixels.shape[axis] in (1, 3, 4)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
