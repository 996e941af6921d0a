"""What a model does when the sound is wrong: silence, noise, another class, another moment, something off-screen.

Every condition is made from the clip's waveform and goes through the *same* front end as the original, so that nothing
but the sound itself tells them apart. The definitions of the numbers are ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from ecmvae.audio.conditions import CONDITIONS, Condition, clips_of_other_classes, wrong_sounds
from ecmvae.audio.io import SAMPLE_RATE, resample
from ecmvae.data.clips import OffersOtherSounds, SoundedClips
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError
from ecmvae.evaluation.inference import device_of, eval_mode, latent_draws
from ecmvae.evaluation.report_files import csv_text, decimal, json_text, write_texts
from ecmvae.evaluation.tasks import MaskTask
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.metrics.robustness import (
    audio_sensitivity,
    false_mask,
    false_positive_rate,
    rejected,
    robust_score,
)
from ecmvae.models.base import Segmenter
from ecmvae.types import AVBatch

_NAMES: Mapping[Condition, str] = {"real": "original", "silent": "silence"}
"""Names in reports, where they differ."""

EMPTY_ANSWER = ("silence", "swapped", "noise_alone", "speech", "music")
"""Conditions in which nothing visible sounds, so that the right answer is empty."""

_STRANGERS: tuple[Condition, ...] = ("speech", "music")
"""Conditions that a data set may offer sounds for."""

SAME_ANSWER = ("original", "noise", "offscreen")
"""Conditions in which the right answer is that of the original sound."""


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings:
    """How the sounds are made.

    Attributes:
        snr_db: Level of the original above noise and off-screen sound, in decibels.
        shift_seconds: How much later the shifted sound is.
        reject_area: Share of a frame below which its prediction counts as empty.
        false_mask_area: Share of a frame above which its prediction is a false mask, where nothing visible sounds.
        conditions: Names of the conditions to score; None: all. The original and silence are always scored.
        seed: Seed of noise and of the other sounds.
        progress: Whether to show a progress bar.
    """

    snr_db: float = 0.0
    shift_seconds: float = 2.0
    reject_area: float = 0.01
    false_mask_area: float = 0.005
    conditions: tuple[str, ...] | None = None
    seed: int = 0
    progress: bool = True


class ConditionScores(NamedTuple):
    """What a model did under one condition; fractions, means over the frames of all clips that have it.

    Attributes:
        clips: Clips that have this condition.
        miou: mIoU with the original ground truth, where that is the right answer; else None.
        false_positive_rate: Share of pixels predicted, where the right answer is empty; else None.
        rejected: Share of frames predicted to be all but empty.
        false_masks: Share of clips with a false mask in some frame, where the right answer is empty; else None.
        audio_sensitivity: 1 - IoU with the prediction under the original sound.
        robust_score: Harmonic mean of the original's mIoU and 1 - `false_positive_rate`; None where that is.
    """

    clips: int
    miou: float | None
    false_positive_rate: float | None
    rejected: float
    false_masks: float | None
    audio_sensitivity: float
    robust_score: float | None


class Heard(NamedTuple):
    """One line of the manifest: the sound that one clip was given, and whether a false mask came of it."""

    clip: str
    condition: str
    other: str = ""
    snr_db: float | None = None
    shift_seconds: float | None = None
    false_mask: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RobustnessReport:
    """Scores by condition, and the manifest of all sounds.

    Attributes:
        settings: How the sounds were made.
        conditions: Scores by name of the condition.
        audio_gain: mIoU under the original sound minus mIoU, with the same ground truth, under silence.
        manifest: The sound that every clip was given.
    """

    settings: RobustnessSettings
    conditions: dict[str, ConditionScores]
    audio_gain: float
    manifest: Sequence[Heard]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the manifest, as plain dictionaries."""
        conditions = {name: scores._asdict() for name, scores in self.conditions.items()}
        return {
            "settings": asdict(self.settings),
            "audio_gain": self.audio_gain,
            "conditions": conditions,
        }

    def write(self, folder: Path) -> None:
        """Write robustness.json, and robustness.csv with the manifest: a row for every clip and condition."""
        manifest = csv_text(Heard._fields, self.manifest)
        write_texts(
            folder, {"robustness.csv": manifest, "robustness.json": json_text(self.to_dict())}
        )

    def show(self, console: Console) -> None:
        """Print the scores."""
        caption = f"rejected: less than {self.settings.reject_area} of the frame predicted"
        table = Table(title="with a wrong sound (fractions)", caption=caption)
        table.add_column("condition", no_wrap=True)
        for heading in (
            "clips",
            "mIoU",
            "false pos.",
            "rejected",
            "false masks",
            "sensitivity",
            "score",
        ):
            table.add_column(heading, justify="right")
        for name, (clips, *numbers) in self.conditions.items():
            table.add_row(name, str(clips), *(decimal(number, 3) for number in numbers))
        console.print(table)


def robustness(
    model: Segmenter, clips: SoundedClips, settings: RobustnessSettings | None = None
) -> RobustnessReport:
    """Score a model on every clip under every condition.

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
    prepare, device = ClipPreprocessor.of(model), device_of(model)
    others = clips_of_other_classes(
        [set(clips.classes(index)) for index in range(len(clips))], settings.seed
    )
    measured: dict[str, list[Tensor]] = defaultdict(list)
    manifest: list[Heard] = []
    console = Console(stderr=True)
    indices = track(
        range(len(clips)),
        "wrong sounds",
        console=console,
        disable=not settings.progress,
        transient=True,
    )
    with eval_mode(model):
        for index in indices:
            clip = clips[index]
            if clip.masks is None:
                raise UserError(
                    f"clip {clip.name} has no masks: scores need a split with ground truth"
                )
            batch = AVBatch.collate([prepare(clip)]).to(device)
            features, original = model.extract_features(batch.frames), None
            for heard, waveform in _sounds(clips, index, others[index], settings):
                audio = prepare(
                    replace(clip, waveform=waveform, sample_rate=SAMPLE_RATE, audio=None)
                ).audio
                embedding = model.encode_audio(None if audio is None else audio[None].to(device))
                draws = latent_draws(model, batch, embedding, features=features)
                logits = MaskTask().decode(draws)["logits"][0, :, 0]  # (T, H, W)
                original = logits if original is None else original
                measured[heard.condition].append(
                    _measure(logits, original, clip.masks[:, 0], settings)
                )
                marked = (
                    bool(measured[heard.condition][-1][-1])
                    if heard.condition in EMPTY_ANSWER
                    else None
                )
                manifest.append(heard._replace(false_mask=marked))
    return _report(measured, manifest, settings)


def _sounds(
    clips: SoundedClips, index: int, other: int | None, settings: RobustnessSettings
) -> list[tuple[Heard, Float[Tensor, " s"]]]:
    """The sounds that a clip is given, as lines of the manifest and waveforms at 16 kHz; the original first."""
    offered = {
        sort: clips.other_sound(sort, index)
        for sort in _STRANGERS
        if isinstance(clips, OffersOtherSounds)
    }
    strangers = {sort: found for sort, found in offered.items() if found is not None}
    sounds = wrong_sounds(
        resample(*clips.waveform(index)),
        SAMPLE_RATE,
        None if other is None else resample(*clips.waveform(other)),
        snr_db=settings.snr_db,
        shift_seconds=settings.shift_seconds,
        generator=torch.Generator().manual_seed(settings.seed * 1_000_003 + index),
        strangers={sort: waveform for sort, (_, waveform) in strangers.items()},
    )
    named = {sort: name for sort, (name, _) in strangers.items()}
    if other is not None:
        named |= {"swapped": clips.name(other), "offscreen": clips.name(other)}
    made = []
    wanted = settings.conditions
    for condition, waveform in sounds.items():
        if wanted is not None and _NAMES.get(condition, condition) not in (
            "original",
            "silence",
            *wanted,
        ):
            continue
        heard = Heard(
            clip=clips.name(index),
            condition=_NAMES.get(condition, condition),
            other=named.get(condition, ""),
            snr_db=settings.snr_db if condition in ("noise", "offscreen") else None,
            shift_seconds=settings.shift_seconds if condition == "shifted" else None,
        )
        made.append((heard, waveform))
    return made


def _measure(
    logits: Tensor, original: Tensor, masks: Tensor, settings: RobustnessSettings
) -> Float[Tensor, "5"]:
    """mIoU, false positives, rejection, sensitivity: means over one clip's frames; whether it has a false mask."""
    numbers = (
        avsbench_iou(logits, masks),
        false_positive_rate(logits),
        rejected(logits, settings.reject_area).float(),
        audio_sensitivity(original, logits),
    )
    means = [number.mean().double() for number in numbers]
    return torch.stack([*means, false_mask(logits[None], settings.false_mask_area)[0].double()])


def _report(
    measured: Mapping[str, Sequence[Tensor]],
    manifest: Sequence[Heard],
    settings: RobustnessSettings,
) -> RobustnessReport:
    names = [name for name in (_NAMES.get(each, each) for each in CONDITIONS) if name in measured]
    means = {name: torch.stack(list(measured[name])).mean(dim=0).tolist() for name in names}
    conditions = {}
    for condition, (miou, false_positives, empty_frames, sensitivity, marked) in means.items():
        empty = condition in EMPTY_ANSWER
        conditions[condition] = ConditionScores(
            clips=len(measured[condition]),
            miou=miou if condition in SAME_ANSWER else None,
            false_positive_rate=false_positives if empty else None,
            rejected=empty_frames,
            false_masks=marked if empty else None,
            audio_sensitivity=sensitivity,
            robust_score=robust_score(means["original"][0], false_positives) if empty else None,
        )
    gain = means["original"][0] - means["silence"][0]
    return RobustnessReport(
        settings=settings, conditions=conditions, audio_gain=gain, manifest=manifest
    )
