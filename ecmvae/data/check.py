"""Verify a data folder: what is missing, truncated or odd, and what is suspicious, in one pass over all files.

Errors are files that a training run would stumble over. Warnings are worth a look but belong to some data sets: clips
without sound, clips without any mask, frames that two splits share.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ecmvae.audio.io import SAMPLE_RATE, read_wave
from ecmvae.audio.vggish import RELEASED_HOP_SECONDS
from ecmvae.data.avss import AVSSFiles, holds_avss, read_avss, read_classes
from ecmvae.data.fingerprints import fingerprint, near_duplicates
from ecmvae.data.images import of_size, read_indices, read_mask, read_rgb
from ecmvae.data.layout import FRAMES, TASKS, ClipFiles, find_table, read_clips, tasks_in
from ecmvae.data.safe_pickle import load_tensor
from ecmvae.errors import UserError
from ecmvae.files import replacing

KNOWN_COUNTS = {
    "s4": {"train": 3452, "val": 740, "test": 740},
    "ms3": {"train": 296, "val": 64, "test": 64},
    "avss": {"train": 8498, "val": 1304, "test": 1554},
}
"""Clips of each split as released."""

SILENT_RMS = 1e-4
"""A clip whose sound is below this (-80 dB of full scale) counts as silent."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong or suspicious.

    Attributes:
        severity: "error" or "warning".
        kind: missing-file, bad-file, short-audio, silent-audio, empty-mask, near-duplicate or counts.
        clip: Name of the clip, "" when it is about the whole.
        message: One line that names the file.
    """

    severity: Literal["error", "warning"]
    kind: str
    clip: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The files that one clip must have.

    Attributes:
        name: Its name.
        split: Its split.
        frames: Pictures, in order.
        masks: Ground truth that must exist, for the first frames.
        read_truth: How a ground truth is read.
        objects: Object maps of composed clips.
        wav: The sound.
        log_mel: Log-mel patches where they are pickled; None where there is no such tree.
    """

    name: str
    split: str
    frames: Sequence[Path]
    masks: Sequence[Path]
    read_truth: Callable[[Path], NDArray[Any]]
    wav: Path
    objects: Sequence[Path] = ()
    log_mel: Path | None = None


@dataclass(kw_only=True)
class _Look:
    """What looking at one clip gave."""

    findings: list[Finding] = field(default_factory=list)
    fingerprints: list[NDArray[np.float32]] = field(default_factory=list)


def check_folder(root: str, task: str = "auto", out: str | None = None, workers: int = 4) -> int:
    """Check every task of a data folder and print what is found; see `ecmvae.data.command.check_data`.

    Returns:
        0, or 2 when there are errors.

    Raises:
        UserError: When the folder holds no known table, or a table is wrong.
    """
    console = Console()
    reports: dict[str, dict[str, Any]] = {}
    for name in _tasks(root) if task == "auto" else [task]:
        clips = expected_files(root, name)
        composed = any(clip.objects for clip in clips)
        findings = inspect(clips, None if composed else KNOWN_COUNTS[name], workers=workers)
        counts = dict(Counter(clip.split for clip in clips))
        reports[name] = {"clips": counts, "findings": [asdict(finding) for finding in findings]}
        _print(console, name, counts, findings)
    if out is not None:
        with replacing(Path(out)) as path:
            path.write_text(json.dumps({"root": root, **reports}, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {out}", soft_wrap=True)
    wrong = any(finding["severity"] == "error" for report in reports.values() for finding in report["findings"])
    return 2 if wrong else 0


def inspect(clips: Sequence[Expected], known: dict[str, int] | None = None, *, workers: int = 4) -> list[Finding]:
    """Look at every file of these clips.

    Args:
        clips: What must be there.
        known: Clips of each split as released; None where there is no release to compare with.
        workers: Threads that read files.

    Returns:
        Errors first, each kind in the order of the clips.
    """
    counts = Counter(clip.split for clip in clips)
    findings = []
    if known is not None and dict(counts) != known:
        told, released = (", ".join(f"{k} {v}" for k, v in each.items()) for each in (counts, known))
        findings.append(_warn("counts", "", f"clips: {told}; as released: {released}"))
    for name, times in Counter(clip.name for clip in clips).items():
        if times > 1:
            findings.append(_error("bad-file", name, f"the table names clip {name} {times} times"))
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        looks = pool.map(_look, clips)
        shown = track(looks, "checking", total=len(clips), console=Console(stderr=True), transient=True)
        seen = list(shown)
    prints = [(clip.split, clip.name, one) for clip, look in zip(clips, seen, strict=True) for one in look.fingerprints]
    findings += [finding for look in seen for finding in look.findings]
    findings += [
        _warn("near-duplicate", a, f"a frame of {a} ({split_a}) is all but the same as one of {b} ({split_b})")
        for (split_a, a), (split_b, b) in near_duplicates(prints)
    ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def expected_files(root: str | Path, task: str) -> list[Expected]:
    """The files that every clip of a task must have.

    Raises:
        UserError: When the table is missing or wrong.
    """
    if task == "avss":
        return [_expected_avss(clip) for clip in read_avss(root)]
    about = find_table(root, task).parent / "clips.json"
    return [_expected(clip, composed=about.is_file()) for clip in read_clips(root, task)]


def _expected(clip: ClipFiles, composed: bool) -> Expected:
    seconds = range(1, FRAMES + 1)
    first_only = clip.task == "s4" and clip.split == "train" and not composed
    # A data set without pickles at all is fine: patches are then computed from the sound.
    pickled = (clip.base / "audio_log_mel").is_dir()
    return Expected(
        name=clip.name,
        split=clip.split,
        frames=[clip.frame(k) for k in seconds],
        masks=[clip.mask(k) for k in (seconds[:1] if first_only else seconds)],
        read_truth=read_mask,
        wav=clip.wav,
        objects=[clip.mask(k, "object_masks") for k in seconds] if composed else (),
        log_mel=clip.log_mel if pickled else None,
    )


def _expected_avss(clip: AVSSFiles) -> Expected:
    return Expected(
        name=clip.name,
        split=clip.split,
        frames=[clip.frame(k) for k in range(clip.seconds)],
        masks=[clip.label(k) for k in range(clip.labelled)],
        read_truth=read_classes,
        wav=clip.wav,
    )


def _look(clip: Expected) -> _Look:
    """Read all files of one clip."""
    look = _Look()
    size: tuple[int, ...] | None = None

    def read(path: Path, reader: Callable[[Path], Any]) -> Any:
        if not path.is_file():
            look.findings.append(_error("missing-file", clip.name, f"{path}: missing"))
            return None
        try:
            value = reader(path)
            return value if size is None or not isinstance(value, np.ndarray) else of_size(path, value, size)
        except UserError as error:
            look.findings.append(_error("bad-file", clip.name, str(error)))
            return None

    for path in clip.frames:
        pixels = read(path, read_rgb)
        if pixels is not None:
            size = size or pixels.shape[:2]
            if (one := fingerprint(pixels)) is not None:
                look.fingerprints.append(one)
    truths = [read(path, clip.read_truth) for path in clip.masks]
    if truths and all(truth is not None and not truth.any() for truth in truths):
        look.findings.append(_warn("empty-mask", clip.name, f"{clip.masks[0].parent}: no mask marks anything"))
    for path in clip.objects:
        read(path, read_indices)
    _listen(clip, read, look)
    return look


def _listen(clip: Expected, read: Callable[[Path, Callable[[Path], Any]], Any], look: _Look) -> None:
    """Check the sound of one clip and its pickled patches."""
    heard = read(clip.wav, read_wave)
    if heard is not None:
        waveform, rate = heard
        # Five patches need 4.8 s; the released clips are cut to that or a little more.
        wanted = len(clip.frames) * RELEASED_HOP_SECONDS
        if len(waveform) / rate < wanted - 0.01:
            seconds = len(waveform) / rate
            look.findings.append(
                _error("short-audio", clip.name, f"{clip.wav}: {seconds:.2f} s of sound, {wanted:.2f} s are needed")
            )
        if rate != SAMPLE_RATE:
            look.findings.append(_warn("bad-file", clip.name, f"{clip.wav}: {rate} Hz instead of {SAMPLE_RATE}"))
        if float(waveform.square().mean().sqrt()) < SILENT_RMS:
            look.findings.append(_warn("silent-audio", clip.name, f"{clip.wav}: silent"))
    if clip.log_mel is not None:
        patches = read(clip.log_mel, load_tensor)
        if patches is not None and tuple(patches.shape) != (len(clip.frames), 1, 96, 64):
            shape = tuple(patches.shape)
            look.findings.append(
                _error(
                    "bad-file", clip.name, f"{clip.log_mel}: shape {shape} instead of ({len(clip.frames)}, 1, 96, 64)"
                )
            )
        elif patches is not None and not patches.isfinite().all():
            look.findings.append(_error("bad-file", clip.name, f"{clip.log_mel}: holds NaN or infinity"))


def _print(console: Console, task: str, counts: dict[str, int], findings: Sequence[Finding]) -> None:
    clips = ", ".join(f"{split} {count}" for split, count in counts.items())
    console.print(f"{task}: {clips}", soft_wrap=True, highlight=False)
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= 10:
            console.print(f"  {finding.severity}: {finding.message}", soft_wrap=True, highlight=False, markup=False)
    for kind, count in shown.items():
        if count > 10:
            console.print(f"  ... and {count - 10} more of kind {kind}", soft_wrap=True, highlight=False)
    errors = sum(finding.severity == "error" for finding in findings)
    console.print(f"  {errors} errors, {len(findings) - errors} warnings", highlight=False)


def _tasks(root: str) -> list[str]:
    found = tasks_in(root)
    if holds_avss(root):
        found.append("avss")
    if not found:
        tables = ", ".join(f"{task.folder}/{task.table}" for task in TASKS.values())
        raise UserError(f"{root}: holds none of {tables}, metadata.csv; see docs/data.md for the expected folders")
    return found


def _error(kind: str, clip: str, message: str) -> Finding:
    return Finding(severity="error", kind=kind, clip=clip, message=message)


def _warn(kind: str, clip: str, message: str) -> Finding:
    return Finding(severity="warning", kind=kind, clip=clip, message=message)
