"""The one evaluator: all three protocols, floors, and what the sound is worth.

Three answers of the model are scored side by side: with the clip's own sound, with silence (log-mel patches of digital
silence from the same front end) and with another clip's sound (a seeded derangement of the whole data set). A model
that listens loses much without its sound; one that only looks does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from ecmvae.data.clips import ClipSource
from ecmvae.data.layout import ClipFiles
from ecmvae.errors import UserError
from ecmvae.evaluation.floors import floor_logits
from ecmvae.evaluation.listening import Sound, Voices, answers, device_of, eval_mode, mean_logits, silence
from ecmvae.evaluation.predictions import PredictionFolder
from ecmvae.evaluation.report import Report
from ecmvae.evaluation.scoring import Scorer, UncertaintyScorer
from ecmvae.types import AVBatch, AVClip


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How to score.

    Attributes:
        batch_clips: Clips a batch of AVSBench's protocol (its F-measure depends on it).
        batch_size: Clips that the model sees at once; no score of the latents' means depends on it.
        latents: "mean" takes the latents' means, "sample" draws them.
        samples: Draws K of the latents, whose mean probability is scored.
        sounds: What the model hears; always includes "real".
        seed: Seed of latents, of the shuffling and of the random floor.
        workers: Processes that read clips.
        progress: Whether to show a progress bar.

    Raises:
        UserError: When a setting is out of range or has no effect.
    """

    batch_clips: int = 4
    batch_size: int = 4
    latents: Literal["mean", "sample"] = "mean"
    samples: int = 1
    sounds: tuple[Sound, ...] = ("real", "silent", "shuffled")
    seed: int = 0
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if min(self.batch_clips, self.batch_size, self.samples) < 1:
            raise UserError("batch_clips, batch_size and samples must be at least 1")
        if self.samples > 1 and self.latents == "mean":
            raise UserError(f"samples={self.samples} has no effect on the latents' means: set latents to sample")
        if "real" not in self.sounds:
            raise UserError("sounds must include real: the others are compared with it")


def evaluate(
    model: Any,
    clips: ClipSource | DataLoader[AVClip],
    settings: EvaluateSettings | None = None,
    *,
    visual_only: Any = None,
    save_to: PredictionFolder | None = None,
    about: dict[str, Any] | None = None,
) -> Report:
    """Score a model on clips with ground truth.

    Args:
        model: A network with ECMVAE's `encode_audio`, `extract_features` and forward; scored in eval mode, on the
            device it is on.
        clips: A data set of clips with masks (`AVSBenchDataset`, `SyntheticAVS`, ...), or a DataLoader of one, of
            which only the data set is used.
        settings: How to score; None = the defaults.
        visual_only: A second model that is given silence only, as a floor.
        save_to: Write the predicted masks of the real sound there; needs an `AVSBenchDataset`.
        about: What else the report should say about data and model.

    Returns:
        The report.

    Raises:
        UserError: When there are no clips, a clip has no masks, there is nothing to shuffle, or the model answers NaN.
    """
    settings, started = settings or EvaluateSettings(), time.monotonic()
    source: Any = clips.dataset if isinstance(clips, DataLoader) else clips
    board, device = _Board(settings), device_of(model)
    draw = partial(answers, latents=settings.latents, samples=settings.samples)
    with eval_mode(model, visual_only):
        voices = Voices(
            model, source, shuffled="shuffled" in settings.sounds, seed=settings.seed, progress=settings.progress
        )
        for index, batch in clip_batches(source, settings):
            board.floors_of(batch, index)
            there, seed = batch.to(device), settings.seed * 1_000_003 + int(index[0])
            features = model.extract_features(there.frames)
            for sound in settings.sounds:
                heard = voices.of(sound, index, there)
                drawn = draw(model, there, heard, features=features, seed=seed)
                board.answer(sound, drawn, batch, index)
                if sound == "real" and save_to is not None:
                    for i, logits in zip(index.tolist(), mean_logits(drawn), strict=True):
                        save_to.write(source.clips[i], torch.sigmoid(logits[:, 0]))
            if visual_only is not None:
                heard = silence(visual_only, *batch.log_mel.shape[:2])
                board.floor("visual_only", draw(visual_only, there, heard, seed=seed), batch, index)
    told = {
        "latents": settings.latents,
        "samples": settings.samples,
        "device": str(device),
        "seconds": round(time.monotonic() - started, 1),
    }
    return board.report({**(about or {}), **told}, voices.others)


def evaluate_predictions(
    predictions: PredictionFolder,
    clips: ClipSource,
    files: Sequence[ClipFiles],
    settings: EvaluateSettings | None = None,
    *,
    about: dict[str, Any] | None = None,
) -> Report:
    """Score a folder of predicted masks, anybody's, as `evaluate` scores a model with the real sound.

    Args:
        predictions: The folder.
        clips: The data set, with masks.
        files: Where each of its clips lies, in the same order.
        settings: How to score; latents and sounds mean nothing here.
        about: What else the report should say.

    Raises:
        UserError: When a predicted mask is missing or of another size than the ground truth.
    """
    settings = settings or EvaluateSettings()
    board = _Board(settings)
    for index, batch in clip_batches(clips, settings):
        frames, size = batch.frames.shape[1], batch.frames.shape[-1]
        logits = torch.stack([predictions.read(files[i], frames, size) for i in index.tolist()])
        board.floors_of(batch, index)
        board.answer("real", logits[None, :, :, None], batch, index)
    return board.report({**(about or {}), "predictions": str(predictions.folder)})


class _Board:
    """The scores of every answer and floor while the clips go by."""

    def __init__(self, settings: EvaluateSettings) -> None:
        self._settings = settings
        self._answers: dict[str, Scorer] = {}
        self._floors: dict[str, Scorer] = {}
        self._uncertainty = UncertaintyScorer(settings.samples)

    def answer(self, sound: str, drawn: Float[Tensor, "k b t 1 h w"], batch: AVBatch, index: Int[Tensor, " b"]) -> None:
        """Add what the model answered to a sound, under K latent draws."""
        scorer = self._answers.setdefault(sound, Scorer(self._settings.batch_clips))
        scorer.update(mean_logits(drawn), batch, index)
        if sound == "real":
            self._uncertainty.update(drawn, batch)

    def floor(self, name: str, drawn: Float[Tensor, "k b t 1 h w"], batch: AVBatch, index: Int[Tensor, " b"]) -> None:
        """Add the answer of a model that hears nothing."""
        self._floors.setdefault(name, Scorer(self._settings.batch_clips)).update(mean_logits(drawn), batch, index)

    def floors_of(self, batch: AVBatch, index: Int[Tensor, " b"]) -> None:
        """Add the trivial answers to a batch."""
        if batch.masks is None:
            raise UserError(f"clip {batch.names[0]} has no masks: scores need a split with ground truth")
        for name, logits in floor_logits(batch, index, self._settings.seed).items():
            scorer = self._floors.setdefault(name, Scorer(self._settings.batch_clips, graded=False))
            scorer.update(logits, batch, index)

    def report(self, about: dict[str, Any], others: Sequence[int] = ()) -> Report:
        """The report of all clips gone by."""
        if not self._answers:
            raise UserError("there are no clips to score")
        real = self._answers["real"]
        frames = sum(clip.frames for clip in real.clips)
        told = {
            "clips": len(real.clips),
            "frames": frames,
            "frames_without_sound": frames - sum(clip.sounding_frames for clip in real.clips),
            "threshold": 0.5,
            "batch_clips": self._settings.batch_clips,
            "seed": self._settings.seed,
        }
        return Report(
            about={**about, **told},
            scores={sound: scorer.compute() for sound, scorer in self._answers.items()},
            floors={name: scorer.compute() for name, scorer in self._floors.items()},
            categories=real.categories(),
            clips={sound: scorer.clips for sound, scorer in self._answers.items()},
            heard_instead=[real.clips[other].name for other in others],
            uncertainty=self._uncertainty.compute(),
        )


def clip_batches(clips: ClipSource, settings: EvaluateSettings) -> Iterator[tuple[Tensor, AVBatch]]:
    """Clips in the order of the data set, with their places."""
    loader: DataLoader[AVClip] = DataLoader(
        clips,  # type: ignore[arg-type]  # a map-style data set needs no more than __len__ and __getitem__
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        collate_fn=AVBatch.collate,
    )
    start = 0
    console = Console(stderr=True)
    for batch in track(loader, "scoring", console=console, disable=not settings.progress, transient=True):
        assert isinstance(batch, AVBatch)
        yield torch.arange(start, start + len(batch.names)), batch
        start += len(batch.names)


def evaluate_command(
    checkpoint: str | None = None,
    data: str | None = None,
    split: str = "test",
    task: Literal["auto", "s4", "ms3", "avss"] = "auto",
    predictions: str | None = None,
    save_predictions: str | None = None,
    visual_only: str | None = None,
    latents: Literal["mean", "sample"] = "mean",
    samples: int = 1,
    batch_clips: int = 4,
    batch_size: int = 4,
    robustness: bool = False,
    snr: float = 0.0,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 0,
    device: str = "auto",
    out: str = "runs/evaluate",
) -> None:
    """Score a model, or a folder of predicted masks, by the three published protocols.

    Prints a table and writes report.json, report.md and clips.csv; for AVSS, whose models tell classes apart, also
    classes.csv. Examples:

        ecmvae evaluate --checkpoint runs/train --data AVSBench --split test
        ecmvae evaluate --predictions their_masks --data AVSBench --task s4
        ecmvae evaluate --checkpoint runs/avss_pvt-001 --data AVSS

    Args:
        checkpoint: A model folder, the run folder that holds it, a name (see ecmvae models) or hf://owner/name.
        data: Folder that holds Single-source or Multi-sources, or AVSS' metadata.csv.
        split: Value of the csv's split column.
        task: s4, ms3, avss, or auto: every task that the folder holds.
        predictions: Score the PNG masks (avss: coloured classes) in this folder instead of a model.
        save_predictions: Write the model's masks or classes into this folder, as PNG in the released naming.
        visual_only: A second checkpoint that is given silence only, as a floor.
        latents: Take the latents' means, or sample them.
        samples: How many samples of the latents to average over.
        batch_clips: Clips a batch of AVSBench's own protocol; its F-measure depends on it.
        batch_size: Clips that the model sees at once.
        robustness: Also let the model hear silence, noise, other classes, other moments and off-screen sounds.
        snr: Level of the clip's own sound above noise and off-screen sounds, in decibels.
        limit: Score only the first clips.
        seed: Seed of latents, of the shuffled sound and of the random floor.
        workers: Processes that read clips.
        device: auto, cpu, cuda or mps.
        out: Folder for the reports; numbered when it exists.

    Raises:
        UserError: When checkpoint or data are missing or do not fit together.
    """
    from ecmvae.evaluation.evaluate_run import EvaluationRun
    from ecmvae.evaluation.robustness import RobustnessSettings

    settings = EvaluateSettings(
        batch_clips=batch_clips,
        batch_size=batch_size,
        latents=latents,
        samples=samples,
        seed=seed,
        workers=workers,
    )
    EvaluationRun(
        checkpoint=checkpoint,
        data=data,
        split=split,
        task=task,
        predictions=predictions,
        save_predictions=save_predictions,
        visual_only=visual_only,
        robustness=RobustnessSettings(snr_db=snr, seed=seed) if robustness else None,
        limit=limit,
        device=device,
        out=out,
        settings=settings,
    ).run()
