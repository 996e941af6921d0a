"""The model on key frames: block after block, each as interleaved clips (see `ecmvae.prediction.key_frames`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8

from ecmvae.data.letterbox import Letterbox
from ecmvae.errors import UserError
from ecmvae.foreign_text import cut
from ecmvae.memory import release_free_memory
from ecmvae.prediction.classes import foreground_and_classes
from ecmvae.prediction.engine import Engine, NamingEngine
from ecmvae.prediction.key_frames import KeyFrameReader, KeyFrames, interleaved_clips
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.temporal import KeyMaps
from ecmvae.prediction.tracking import Tracker

logger = logging.getLogger(__name__)

_SOUNDS = 0.5
"""Activity above which a name sounds."""


def predict_key_frames(
    engine: Engine, options: PredictorOptions, reader: KeyFrameReader
) -> Iterator[KeyMaps]:
    """Predict block after block; the last reaches back so that it, too, spans T seconds if the video is that long.

    An engine that takes clips one by one anyway gives the first block several times, after each clip with more of it
    ready: the first masks need not wait for the whole block.

    Args:
        engine: Runs the model.
        options: Clips at a time, samples and seed.
        reader: Of the video; the bars of its geometry are cut off the maps.
    """
    clip = engine.num_frames * options.stride
    size = clip * max(options.batch // options.stride, 1)
    before: KeyFrames | None = None
    spread = 0.0
    classes: np.ndarray | None
    loudest: np.ndarray | None = None
    tracker = Tracker()
    current = reader.read(size)
    while current is not None:
        last = reader.at_end()
        release_free_memory()  # what decoding took, before the model runs
        missing = clip - len(current)
        together = current
        activity: np.ndarray | None = None
        things: np.ndarray | None = None
        if isinstance(engine, NamingEngine):
            probabilities, classes, activity, things = _name_block(
                engine, options, together, reader.geometry, tracker
            )
            loudest = (
                activity.max(axis=0)
                if loudest is None
                else np.maximum(loudest, activity.max(axis=0))
            )
        else:
            if before is not None and missing > 0:
                together = current.led_by(before, missing)
            work = _predict_block(engine, options, together, reader.geometry)
            for ready, probabilities, classes, apart in work:
                spread = max(spread, apart)
                if before is None and 0 < ready < len(together):
                    shown = replace(reader.geometry, side=probabilities.shape[-1])
                    yield KeyMaps(
                        together.times,
                        shown.crop(probabilities),
                        None if classes is None else shown.crop(classes),
                        last=False,
                        unready=len(together) - ready,
                    )
        release_free_memory()  # before the frames are drawn and encoded
        # a model's maps may be smaller than its frames
        shown = replace(reader.geometry, side=probabilities.shape[-1])
        maps = KeyMaps(
            together.times,
            shown.crop(probabilities),
            None if classes is None else shown.crop(classes),
            last=last,
            activity=activity,
            things=None if things is None else shown.crop(things),
        )
        yield maps[len(together) - len(current) :]
        del maps, probabilities, classes, things  # they are large, and the model runs next
        before = current
        current = None if last else reader.read(size)
    if isinstance(engine, NamingEngine) and loudest is not None and loudest.max() <= _SOUNDS:
        best = int(loudest.argmax())
        logger.warning(
            "none of these sounds: %s (highest: %s, %.2f)",
            cut(", ".join(engine.class_names[1:])),
            engine.class_names[best + 1],
            loudest[best],
        )
    if options.samples > 1:
        # with PyTorch, as the engine that has drawn the samples
        from ecmvae.models.latent_use import UNUSED

        if spread < UNUSED:
            logger.warning(
                "the latents of this model change its masks by less than %g: --samples %d adds nothing",
                UNUSED,
                options.samples,
            )


def _predict_block(
    engine: Engine, options: PredictorOptions, block: KeyFrames, geometry: Letterbox
) -> Iterator[tuple[int, Float[np.ndarray, "n s s"], UInt8[np.ndarray, "n s s"] | None, float]]:
    """Probabilities, the mean over the latent samples, and classes of equally spaced key frames.

    Yields:
        After every batch of clips the same arrays, more of them filled: how many key frames from the first on are
        ready, (n, S, S) probabilities and classes, 0 where not ready, and how far the samples lie apart: their mean
        range in the pixels that one of them marks, at most 1.

    Raises:
        UserError: If the model answers NaN.
    """
    result = np.zeros((len(block), geometry.side, geometry.side), np.float32)
    numbers: np.ndarray | None = None
    apart = 0.0
    one_by_one = options.samples == 1 and getattr(engine, "one_by_one", False)
    batch = 1 if one_by_one else options.batch
    tables = list(interleaved_clips(len(block), engine.num_frames, options.stride, batch))
    # where clips overlap, the last one counts
    final = {number: place for place, clips in enumerate(tables) for number in clips.flat}
    for place, clips in enumerate(tables):
        logits = engine.logits(
            block.frames(
                clips, geometry, engine.normalisation
            ),  # not kept: the largest arrays here
            block.features[clips],
            options.samples,
            options.seed,  # the same in every block: less flicker
        )
        if np.isnan(logits).any():
            raise UserError(
                "the model answers NaN: its checkpoint is broken, or --half is too coarse for it"
            )
        probability, classes = foreground_and_classes(logits)
        if options.samples > 1:
            apart = max(
                apart, _range(np.stack([foreground_and_classes(each[None])[0] for each in logits]))
            )
        result[clips] = probability
        if classes is not None:
            numbers = np.zeros(result.shape, np.uint8) if numbers is None else numbers
            numbers[clips] = classes
        ready = next((n for n in range(len(block)) if final[n] > place), len(block))
        yield ready, result, numbers, apart


def _name_block(
    engine: NamingEngine,
    options: PredictorOptions,
    block: KeyFrames,
    geometry: Letterbox,
    tracker: Tracker,
) -> tuple[
    Float[np.ndarray, "n p p"],
    UInt8[np.ndarray, "n p p"],
    Float[np.ndarray, "n c"],
    Int32[np.ndarray, "n p p"] | None,
]:
    """Probabilities, classes, activities and numbers of things of key frames, each predicted alone."""
    parts = [
        engine.name_masks(
            block.frames(_batch(start, options, block)[None], geometry, engine.normalisation),
            block.features[None, start : start + options.batch],
        )
        for start in range(0, len(block), options.batch)
    ]
    probabilities = np.concatenate([part.probabilities[0] for part in parts])
    classes = np.concatenate([part.classes[0] for part in parts])
    activity = np.concatenate([part.activity[0] for part in parts])
    if np.isnan(probabilities).any():
        raise UserError(
            "the model answers NaN: its weights are broken, or --half is too coarse for it"
        )
    things = None
    if all(part.things is not None for part in parts):
        found = [each for part in parts for each in part.things or ()]
        things = np.stack(
            [tracker.follow(float(t), each) for t, each in zip(block.times, found, strict=True)]
        )
    named = np.flatnonzero(classes.any(axis=(1, 2)))
    if len(named) == 0:
        return probabilities, np.ones_like(classes), activity, things
    # Smoothing spreads a mask to frames in which nothing was heard, and every pixel of a mask has a class: that of the
    # nearest frame with names.
    nearest = named[np.abs(np.arange(len(classes))[:, None] - named).argmin(axis=1)]
    return probabilities, classes[nearest], activity, None if things is None else things[nearest]


def _batch(start: int, options: PredictorOptions, block: KeyFrames) -> Int[np.ndarray, " n"]:
    """Numbers of the key frames of a batch."""
    return np.arange(start, min(start + options.batch, len(block)))


def _range(samples: Float[np.ndarray, "k b t h w"]) -> float:
    """Mean of largest less smallest probability over the pixels that a sample marks; 0 where none does."""
    low, high = samples.min(axis=0), samples.max(axis=0)
    marked = high > 0.5
    return float((high - low)[marked].mean()) if marked.any() else 0.0
