"""Scoring classes: what `ecmvae evaluate` does on AVSS, for models and for folders of predicted classes.

Two ways of counting stand side by side. ``frames``: the real frames of every clip. ``released``: as AVSS' released
script counts, with clips of five seconds padded to ten by frames whose ground truth is background.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ecmvae.data.avss import NUM_CLASSES, AVSSDataset
from ecmvae.errors import UserError
from ecmvae.evaluation.class_predictions import ClassFolder
from ecmvae.evaluation.evaluate import EvaluateSettings, clip_batches
from ecmvae.evaluation.listening import Voices, class_answers, device_of, eval_mode, silence
from ecmvae.evaluation.semantic_report import ClassScores, SemanticAnswer, SemanticClip, SemanticReport
from ecmvae.metrics.semantic import ClassSums, class_sums
from ecmvae.types import AVBatch


def evaluate_semantic(
    model: Any,
    clips: AVSSDataset,
    settings: EvaluateSettings | None = None,
    *,
    visual_only: Any = None,
    save_to: ClassFolder | None = None,
    about: dict[str, Any] | None = None,
) -> SemanticReport:
    """Score a model of several classes, heard for real, in silence and with another clip's sound.

    Args:
        model: A network with ECMVAE's `encode_audio`, `extract_features` and forward, of AVSS' 71 classes; scored in
            eval mode, on the device it is on.
        clips: The data set.
        settings: How to score; ``batch_clips`` means nothing here.
        visual_only: A second model that is given silence only, as a floor.
        save_to: Write the predicted classes of the real sound there.
        about: What else the report should say about data and model.

    Raises:
        UserError: When a model tells no classes apart, there is nothing to shuffle, or the model answers NaN.
    """
    settings, started = settings or EvaluateSettings(), time.monotonic()
    for each in (model, visual_only):
        if each is not None and each.num_classes != NUM_CLASSES:
            raise UserError(
                f"AVSS has {NUM_CLASSES} classes and this model has model.num_classes={each.num_classes}: train one "
                "with configs/avss_pvt.yaml"
            )
    board = _Board(clips)
    decide = partial(class_answers, latents=settings.latents, samples=settings.samples)
    with eval_mode(model, visual_only):
        voices = Voices(
            model, clips, shuffled="shuffled" in settings.sounds, seed=settings.seed, progress=settings.progress
        )
        for index, batch in clip_batches(clips, settings):
            board.add("floor: background", torch.zeros_like(_labels(batch)), batch, index)
            there, seed = batch.to(device_of(model)), settings.seed * 1_000_003 + int(index[0])
            features = model.extract_features(there.frames)
            for sound in settings.sounds:
                heard = voices.of(sound, index, there)
                classes = decide(model, there, heard, features=features, seed=seed)
                board.add(f"{sound} sound", classes, batch, index)
                if sound == "real" and save_to is not None:
                    for i, each in zip(index.tolist(), classes, strict=True):
                        save_to.write(clips.clips[i], each)
            if visual_only is not None:
                heard = silence(visual_only, *batch.log_mel.shape[:2])
                board.add("floor: visual only", decide(visual_only, there, heard, seed=seed), batch, index)
    told = {
        "latents": settings.latents,
        "samples": settings.samples,
        "seed": settings.seed,
        "device": str(device_of(model)),
        "seconds": round(time.monotonic() - started, 1),
    }
    return board.report({**(about or {}), **told}, [clips.clips[other].name for other in voices.others])


def evaluate_class_predictions(
    predictions: ClassFolder,
    clips: AVSSDataset,
    settings: EvaluateSettings | None = None,
    *,
    about: dict[str, Any] | None = None,
) -> SemanticReport:
    """Score a folder of predicted classes, anybody's, as `evaluate_semantic` scores a model with the real sound.

    Args:
        predictions: The folder.
        clips: The data set, at the size of the released evaluation.
        settings: How to score; latents and sounds mean nothing here.
        about: What else the report should say.

    Raises:
        UserError: When a prediction is missing, of a wrong size, or holds what is no class.
    """
    board = _Board(clips)
    for index, batch in clip_batches(clips, settings or EvaluateSettings()):
        frames = batch.frames.shape[1]
        classes = torch.stack([predictions.read(clips.clips[i], frames) for i in index.tolist()])
        board.add("real sound", classes, batch, index)
        board.add("floor: background", torch.zeros_like(classes), batch, index)
    return board.report({**(about or {}), "predictions": str(predictions.folder)})


@dataclass
class _Answer:
    """Sums of one way to answer: of real frames in each subset, of padded frames, and the clips one by one."""

    subsets: dict[str, ClassSums]
    padded: ClassSums
    clips: list[SemanticClip]

    @property
    def real(self) -> ClassSums:
        """Of all real frames."""
        return sum(self.subsets.values(), start=_nothing())

    def scores(self) -> SemanticAnswer:
        """What the sums come to."""
        return SemanticAnswer(
            frames=self.real.scores(),
            released=(self.real + self.padded).scores(),
            subsets={name: sums.scores() for name, sums in sorted(self.subsets.items())},
        )


class _Board:
    """The scores of every answer while the clips go by."""

    def __init__(self, clips: AVSSDataset) -> None:
        self._files, self._names = clips.clips, clips.class_names
        self._answers: dict[str, _Answer] = {}

    def add(self, name: str, classes: Int[Tensor, "b t h w"], batch: AVBatch, index: Int[Tensor, " b"]) -> None:
        """Add an answer to a batch."""
        assert batch.valid is not None
        answer = self._answers.setdefault(name, _Answer({}, _nothing(), []))
        for i, predicted, labels, valid in zip(index.tolist(), classes, _labels(batch), batch.valid, strict=True):
            clip = self._files[i]
            real = class_sums(predicted[valid], labels[valid], NUM_CLASSES)
            answer.subsets[clip.subset] = answer.subsets.get(clip.subset, _nothing()) + real
            answer.padded += class_sums(predicted[~valid], labels[~valid], NUM_CLASSES)
            scores = real.scores()
            answer.clips.append(
                SemanticClip(
                    name=clip.name,
                    subset=clip.subset,
                    frames=int(valid.sum()),
                    miou=scores.miou,
                    fscore=scores.fscore,
                )
            )

    def report(self, about: dict[str, Any], heard_instead: list[str] | None = None) -> SemanticReport:
        """The report of all clips gone by."""
        real = self._answers["real sound"]
        ordered = sorted(self._answers.items(), key=lambda item: item[0].startswith("floor"))  # floors last
        sums = real.real
        seen = [k for k in range(NUM_CLASSES) if sums.frames[k] > 0]
        return SemanticReport(
            about={**about, "clips": len(real.clips), "frames": sum(clip.frames for clip in real.clips)},
            scores={name: answer.scores() for name, answer in ordered},
            classes=[
                ClassScores(
                    number=k,
                    name=self._names[k],
                    frames=int(sums.frames[k]),
                    iou=float(sums.iou[k] / sums.frames[k]),
                    fscore=float(sums.fscore[k] / sums.frames[k]),
                )
                for k in seen
            ],
            clips={name: answer.clips for name, answer in ordered},
            heard_instead=heard_instead or [],
        )


def _nothing() -> ClassSums:
    return ClassSums(*(torch.zeros(NUM_CLASSES, dtype=torch.float64) for _ in range(3)))


def _labels(batch: AVBatch) -> Tensor:
    assert batch.labels is not None
    return batch.labels
