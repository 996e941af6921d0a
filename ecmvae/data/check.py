"""Verify a data set: what is missing, truncated or odd, and what is suspicious, in one pass over all clips.

Errors are what a training run would stumble over. Warnings are worth a look but belong to some data sets: clips without
sound, clips without any mask, frames that two splits share. Of a data set with a record every file is read; any other
data set is asked for its clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from einops import rearrange
from numpy.typing import NDArray
from rich.console import Console

from ecmvae.audio.io import SAMPLE_RATE, read_wave
from ecmvae.audio.vggish import RELEASED_HOP_SECONDS, VGGishFrontEnd
from ecmvae.config import DataConfig
from ecmvae.data.avss import read_avss, read_classes
from ecmvae.data.clips import ClipSource
from ecmvae.data.findings import Finding, Look
from ecmvae.data.fingerprints import near_duplicates
from ecmvae.data.images import grey_pixels, read_indices, read_mask, read_rgb
from ecmvae.data.jobs import run_jobs
from ecmvae.data.layout import FRAMES, ClipFiles, find_table, read_clips
from ecmvae.data.loading import load_clips
from ecmvae.data.packed import PackedIndex, holds_packed
from ecmvae.data.safe_pickle import load_tensor
from ecmvae.data.sets.check import RecordedFiles, recorded_files
from ecmvae.data.sets.records import RECORDS, records_in
from ecmvae.errors import UserError
from ecmvae.files import show_path, write_json


@dataclass(frozen=True, kw_only=True)
class ExpectedFiles:
    """The files that one clip must have: log-mel patches, and object maps of composed clips, only where they belong."""

    name: str
    split: str
    frames: Sequence[Path]
    masks: Sequence[Path]
    read_mask: Callable[[Path], NDArray[Any]]
    wav: Path
    objects: Sequence[Path] = ()
    log_mel: Path | None = None

    def look(self) -> Look:
        """Read all files."""
        look = Look(self.name)
        size: tuple[int, ...] | None = None
        for path in self.frames:
            if (pixels := look.read(path, read_rgb, size)) is not None:
                size = size or pixels.shape[:2]
                look.add_picture(pixels)
        masks = [look.read(path, self.read_mask, size) for path in self.masks]
        if self.read_mask is read_mask:
            readable = [
                path for path, mask in zip(self.masks, masks, strict=True) if mask is not None
            ]
            if grey := sum(map(grey_pixels, readable)):
                look.warn(
                    "grey-mask", f"{self.masks[0].parent}: {grey} grey pixels, see data.mask_rule"
                )
        if masks and all(mask is not None and not mask.any() for mask in masks):
            look.warn("empty-mask", f"{self.masks[0].parent}: no mask marks anything")
        for path in self.objects:
            look.read(path, read_indices, size)
        if (sound := look.read(self.wav, read_wave)) is not None:
            waveform, rate = sound
            # Five patches need 4.8 s; the released clips are cut to that or a little more.
            wanted, seconds = len(self.frames) * RELEASED_HOP_SECONDS, len(waveform) / rate
            if seconds < wanted - 0.01:
                look.error(
                    "short-audio",
                    f"{self.wav}: {seconds:.2f} s of sound, {wanted:.2f} s are needed",
                )
            if rate != SAMPLE_RATE:
                look.warn("bad-file", f"{self.wav}: {rate} Hz instead of {SAMPLE_RATE}")
            look.add_sound(str(self.wav), waveform)
        if (
            self.log_mel is not None
            and (patches := look.read(self.log_mel, load_tensor)) is not None
        ):
            shape = (len(self.frames), *VGGishFrontEnd.feature_shape)
            if tuple(patches.shape) != shape:
                look.error(
                    "bad-file", f"{self.log_mel}: shape {tuple(patches.shape)} instead of {shape}"
                )
            elif not patches.isfinite().all():
                look.error("bad-file", f"{self.log_mel}: holds NaN or infinity")
        return look


@dataclass(frozen=True, kw_only=True)
class LoadedClip:
    """One clip of a data set that is known through its loader only; its name is its split and number."""

    source: ClipSource
    name: str
    split: str
    index: int

    def look(self) -> Look:
        """Load the clip."""
        look = Look(self.name)
        try:
            clip = self.source[self.index]
        except UserError as error:
            look.error("bad-file", f"{self.name}: {error}")
            return look
        if not clip.frames.is_floating_point():
            for picture in rearrange(clip.frames, "t c h w -> t h w c"):
                look.add_picture(picture.contiguous().numpy())
        if clip.masks is not None and not clip.masks.any():
            look.warn("empty-mask", f"{self.name} ({clip.name}): no mask marks anything")
        if clip.waveform is not None:
            look.add_sound(f"{self.name} ({clip.name})", clip.waveform)
        return look


def check_folder(
    root: str,
    task: str = "auto",
    splits: Sequence[str] | None = None,
    out: str | None = None,
    workers: int = 4,
) -> int:
    """Check every task of a data folder and print what is found; see `ecmvae.data.command.check_data`."""
    console = Console()
    reports: dict[str, dict[str, Any]] = {}
    for name in _tasks(root) if task == "auto" else [task]:
        clips: Sequence[ExpectedFiles | RecordedFiles | LoadedClip]
        record = None if holds_packed(root) else RECORDS.get(name)
        if record is not None and record.rows:
            clips = recorded_files(record, root, splits)
            findings = inspect(clips, None if splits else record.differences, workers=workers)
        elif record is not None and record.tables:
            files = expected_files(root, name)
            clips = [clip for clip in files if splits is None or clip.split in splits]
            composed = any(clip.objects for clip in files)
            findings = inspect(
                clips, None if splits or composed else record.differences, workers=workers
            )
        else:
            clips = loaded_clips(root, name, splits)
            # a data set from outside may not be safe to share by threads
            findings = inspect(clips, workers=1)
        counts = _counts(clips)
        reports[name] = {"clips": counts, "findings": [asdict(finding) for finding in findings]}
        _print(console, name, counts, findings)
    if out is not None:
        write_json(Path(out), {"root": root, **reports})
        console.print(f"written: {show_path(Path(out))}", soft_wrap=True)
    wrong = any(
        finding["severity"] == "error"
        for report in reports.values()
        for finding in report["findings"]
    )
    return 2 if wrong else 0


def inspect(
    clips: Sequence[ExpectedFiles | RecordedFiles | LoadedClip],
    differences: Callable[[Mapping[str, int]], str] | None = None,
    *,
    workers: int = 4,
) -> list[Finding]:
    """Look at every one of these clips.

    Args:
        clips: What to look at.
        differences: Says how their number in each split differs from the release, see `DataSetRecord.differences`.
        workers: Threads that read files.

    Returns:
        Errors first, each kind in the order of the clips.
    """
    findings = []
    if differences is not None and (found := differences(_counts(clips))):
        findings.append(Finding("warning", "counts", "", found))
    for name, times in Counter(clip.name for clip in clips).items():
        if times > 1:
            findings.append(
                Finding("error", "bad-file", name, f"the table names clip {name} {times} times")
            )
    looks = list(run_jobs(lambda clip: clip.look(), clips, workers, title="checking", threads=True))
    findings += [finding for look in looks for finding in look.findings]
    prints = [
        (clip.split, clip.name, one)
        for clip, look in zip(clips, looks, strict=True)
        for one in look.fingerprints
    ]
    for (split_a, a), (split_b, b) in near_duplicates(prints):
        message = f"a frame of {a} ({split_a}) is all but the same as one of {b} ({split_b})"
        findings.append(Finding("warning", "near-duplicate", a, message))
    return sorted(findings, key=lambda finding: finding.severity != "error")


def loaded_clips(root: str, name: str, splits: Sequence[str] | None) -> list[LoadedClip]:
    """The clips of these splits of any data set, by registered name or import path; errors as of `load_clips`.

    None = all that are packed, train and val of other data sets.
    """
    clips, data = [], DataConfig(name=name, root=root)
    if holds_packed(root):
        index = PackedIndex.read(root)
        data, splits = (
            index.data,
            [split for split in index.splits if splits is None or split in splits],
        )
    for split in splits or ("train", "val"):
        source = load_clips(data, split)
        clips += [
            LoadedClip(source=source, name=f"{split}[{k}]", split=split, index=k)
            for k in range(len(source))
        ]
    return clips


def expected_files(root: str | Path, task: str) -> list[ExpectedFiles]:
    """The files that every clip of s4, ms3 or avss must have; a `UserError` if the table is missing or wrong."""
    if task != "avss":
        composed = (find_table(root, task).parent / "clips.json").is_file()
        return [_expected(clip, composed) for clip in read_clips(root, task)]
    return [
        ExpectedFiles(
            name=clip.name,
            split=clip.split,
            frames=[clip.frame(k) for k in range(clip.seconds)],
            masks=[clip.label(k) for k in range(clip.labelled)],
            read_mask=read_classes,
            wav=clip.wav,
        )
        for clip in read_avss(root)
    ]


def _expected(clip: ClipFiles, composed: bool) -> ExpectedFiles:
    seconds = range(1, FRAMES + 1)
    first_only = clip.task == "s4" and clip.split == "train" and not composed
    # A data set without pickles at all is fine: patches are then computed from the sound.
    pickled = (clip.base / "audio_log_mel").is_dir()
    return ExpectedFiles(
        name=clip.name,
        split=clip.split,
        frames=[clip.frame(k) for k in seconds],
        masks=[clip.mask(k) for k in (seconds[:1] if first_only else seconds)],
        read_mask=read_mask,
        wav=clip.wav,
        objects=[clip.mask(k, "object_masks") for k in seconds] if composed else (),
        log_mel=clip.log_mel if pickled else None,
    )


def _counts(clips: Sequence[ExpectedFiles | RecordedFiles | LoadedClip]) -> dict[str, int]:
    """Clips, or lines of the table where the release counts these, by split."""
    counts: Counter[str] = Counter()
    for clip in clips:
        counts[clip.split] += clip.counted if isinstance(clip, RecordedFiles) else 1
    return dict(counts)


def _print(
    console: Console, task: str, counts: dict[str, int], findings: Sequence[Finding]
) -> None:
    clips = ", ".join(f"{split} {count}" for split, count in counts.items())
    console.print(f"{task}: {clips}", soft_wrap=True, highlight=False)
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= 10:
            console.print(
                f"  {finding.severity}: {finding.message}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )
    for kind, count in shown.items():
        if count > 10:
            console.print(
                f"  ... and {count - 10} more of kind {kind}", soft_wrap=True, highlight=False
            )
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    counted = (
        f"{errors} error{'' if errors == 1 else 's'}",
        f"{warnings} warning{'' if warnings == 1 else 's'}",
    )
    console.print(f"  {', '.join(counted)}", highlight=False)


def _tasks(root: str) -> list[str]:
    if holds_packed(root):
        return ["packed"]
    found = records_in(root)
    if not found:
        tables = ", ".join(
            dict.fromkeys(record.tables[0] for record in RECORDS.values() if record.tables)
        )
        raise UserError(
            f"{root}: holds none of {tables}; see docs/data.md for the expected folders, or write an example with "
            "ecmvae data miniature"
        )
    return found
