"""What a model does when the sound is wrong: silence, noise, another class, another moment, something off-screen.

Every condition is made from the clip's waveform and goes through the *same* front end as the original, so that nothing
but the sound itself tells them apart. The definitions of the numbers are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from ecmvae.audio.conditions import clips_of_other_classes, shifted, with_noise, with_sound
from ecmvae.audio.io import SAMPLE_RATE, resample
from ecmvae.data.clips import SoundedClips
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError
from ecmvae.evaluation.inference import device_of, eval_mode, latent_draws
from ecmvae.evaluation.report_files import csv_text, decimal, json_text, write_texts
from ecmvae.evaluation.tasks import MaskTask
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.metrics.robustness import audio_sensitivity, false_positive_rate, rejected, robust_score
from ecmvae.models.base import Segmenter
from ecmvae.types import AVBatch

Condition = Literal["original", "silence", "noise", "swapped", "shifted", "offscreen"]

EMPTY_ANSWER = ("silence", "swapped")
"""Conditions in which nothing visible sounds, so that the right answer is empty."""

SAME_ANSWER = ("original", "noise", "offscreen")
"""Conditions in which the right answer is that of the original sound."""


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings:
    """How the sounds are made.

    Attributes:
        snr_db: Level of the original above noise and off-screen sound, in decibels.
        shift_seconds: How much later the shifted sound is.
        reject_area: Share of a frame below which its prediction counts as empty.
        seed: Seed of noise and of the other sounds.
        progress: Whether to show a progress bar.
    """

    snr_db: float = 0.0
    shift_seconds: float = 2.0
    reject_area: float = 0.01
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True, kw_only=True)
class ConditionScores:
    """What a model did under one condition; fractions, means over the frames of all clips that have it.

    Attributes:
        clips: Clips that have this condition.
        miou: mIoU with the original ground truth, where that is the right answer; else None.
        false_positive_rate: Share of pixels predicted, where the right answer is empty; else None.
        rejected: Share of frames predicted to be all but empty.
        audio_sensitivity: 1 - IoU with the prediction under the original sound.
        robust_score: Harmonic mean of the original's mIoU and 1 - `false_positive_rate`; None where that is.
    """

    clips: int
    miou: float | None
    false_positive_rate: float | None
    rejected: float
    audio_sensitivity: float
    robust_score: float | None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One line of the manifest: what one clip was made to hear."""

    clip: str
    condition: str
    other: str
    snr_db: float | None
    shift_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class RobustnessReport:
    """Scores by condition, and the manifest of all sounds.

    Attributes:
        settings: How the sounds were made.
        conditions: Scores by name of the condition.
        audio_gain: mIoU under the original sound minus mIoU, with the same ground truth, under silence.
        manifest: What every clip was made to hear.
    """

    settings: RobustnessSettings
    conditions: dict[str, ConditionScores]
    audio_gain: float
    manifest: Sequence[Heard]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the manifest, as plain dictionaries."""
        conditions = {name: asdict(scores) for name, scores in self.conditions.items()}
        return {"settings": asdict(self.settings), "audio_gain": self.audio_gain, "conditions": conditions}

    def write(self, folder: Path) -> None:
        """Write robustness.json, and robustness.csv with the manifest: a row for every clip and condition."""
        manifest = csv_text([each.name for each in fields(Heard)], [astuple(heard) for heard in self.manifest])
        write_texts(folder, {"robustness.csv": manifest, "robustness.json": json_text(self.to_dict())})

    def show(self, console: Console) -> None:
        """Print the scores."""
        caption = f"rejected: less than {self.settings.reject_area} of the frame predicted"
        table = Table(title="with a wrong sound (fractions)", caption=caption)
        table.add_column("condition", no_wrap=True)
        for heading in ("clips", "mIoU", "false pos.", "rejected", "sensitivity", "score"):
            table.add_column(heading, justify="right")
        for name, row in self.conditions.items():
            numbers = (row.miou, row.false_positive_rate, row.rejected, row.audio_sensitivity, row.robust_score)
            table.add_row(name, str(row.clips), *(decimal(number, 3) for number in numbers))
        console.print(table)


def robustness(model: Segmenter, clips: SoundedClips, settings: RobustnessSettings | None = None) -> RobustnessReport:
    """Let a model hear every clip under every condition.

    Args:
        model: The model; scored in eval mode, on the device it is on.
        clips: Clips with masks, waveforms and class names. Where no clip of other classes exists, `swapped` and
            `offscreen` are left out for that clip.
        settings: How the sounds are made; None = the defaults.

    Raises:
        UserError: When there are no clips or a clip has no masks.
    """
    settings = settings or RobustnessSettings()
    if len(clips) == 0:
        raise UserError("there are no clips to score")
    prepare = ClipPreprocessor.of(model)
    others = clips_of_other_classes([set(clips.classes(index)) for index in range(len(clips))], settings.seed)
    sums: dict[str, list[dict[str, float]]] = {condition: [] for condition in get_args(Condition)}
    manifest: list[Heard] = []
    device = device_of(model)
    with eval_mode(model):
        indices = track(
            range(len(clips)),
            "mishearing",
            console=Console(stderr=True),
            disable=not settings.progress,
            transient=True,
        )
        for index in indices:
            clip = clips[index]
            if clip.masks is None:
                raise UserError(f"clip {clip.name} has no masks: scores need a split with ground truth")
            batch = AVBatch.collate([prepare(clip)]).to(device)
            features = model.extract_features(batch.frames)
            original: Tensor | None = None
            for condition, (waveform, heard) in _sounds(clips, index, others[index], settings).items():
                misheard = prepare(replace(clip, waveform=waveform, sample_rate=SAMPLE_RATE, audio=None))
                embedding = model.encode_audio(None if misheard.audio is None else misheard.audio[None].to(device))
                draws = latent_draws(model, batch, embedding, features=features)
                logits = MaskTask().decode(draws)["logits"][0, :, 0]  # (T, H, W)
                original = logits if original is None else original
                sums[condition].append(_measure(logits, original, clip.masks[:, 0], settings.reject_area))
                manifest.append(heard)
    return _report(sums, manifest, settings)


def _sounds(
    clips: SoundedClips, index: int, other: int | None, settings: RobustnessSettings
) -> dict[str, tuple[Float[Tensor, " s"], Heard]]:
    """The waveforms (16 kHz) that a clip is heard with, the original first."""
    own = resample(*clips.waveform(index))
    chance = torch.Generator().manual_seed(settings.seed * 1_000_003 + index)
    name = clips.name(index)

    def heard(condition: str, whose: str = "", snr: float | None = None, shift: float | None = None) -> Heard:
        return Heard(clip=name, condition=condition, other=whose, snr_db=snr, shift_seconds=shift)

    made = {
        "original": (own, heard("original")),
        "silence": (torch.zeros_like(own), heard("silence")),
        "noise": (with_noise(own, settings.snr_db, chance), heard("noise", snr=settings.snr_db)),
        "shifted": (
            shifted(own, SAMPLE_RATE, settings.shift_seconds),
            heard("shifted", shift=settings.shift_seconds),
        ),
    }
    if other is not None:
        theirs, whose = resample(*clips.waveform(other)), clips.name(other)
        made["swapped"] = (theirs, heard("swapped", whose))
        made["offscreen"] = (with_sound(own, theirs, settings.snr_db), heard("offscreen", whose, settings.snr_db))
    return made


def _measure(logits: Tensor, original: Tensor, masks: Tensor, area: float) -> dict[str, float]:
    """Means over the frames of one clip."""
    return {
        "miou": avsbench_iou(logits, masks).mean().item(),
        "false_positive_rate": false_positive_rate(logits).mean().item(),
        "rejected": rejected(logits, area).float().mean().item(),
        "audio_sensitivity": audio_sensitivity(original, logits).mean().item(),
    }


def _report(
    sums: dict[str, list[dict[str, float]]], manifest: Sequence[Heard], settings: RobustnessSettings
) -> RobustnessReport:
    means = {
        condition: {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        for condition, rows in sums.items()
        if rows
    }
    original = means["original"]["miou"]
    conditions = {}
    for condition, mean in means.items():
        empty = condition in EMPTY_ANSWER
        conditions[condition] = ConditionScores(
            clips=len(sums[condition]),
            miou=mean["miou"] if condition in SAME_ANSWER else None,
            false_positive_rate=mean["false_positive_rate"] if empty else None,
            rejected=mean["rejected"],
            audio_sensitivity=mean["audio_sensitivity"],
            robust_score=robust_score(original, mean["false_positive_rate"]) if empty else None,
        )
    gain = original - means["silence"]["miou"]
    return RobustnessReport(settings=settings, conditions=conditions, audio_gain=gain, manifest=manifest)
