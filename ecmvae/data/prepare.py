"""From raw videos to AVSBench's layout: frames, 16 kHz sound and log-mel patches beside the masks.

AVSBench hands out its masks together with a table, and videos that were cut to five seconds. The released preparation
takes for second l the frame of index ``int(l F + 15/16 F)``, where F is the frame rate rounded to a whole number, and
the last frame where a video is too short; it squashes frames to 224 x 224. The `exact` rule takes the frame that is
shown at ``l + 15/16`` seconds by the file's own timestamps, which differs where the frame rate is not whole or varies.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

from ecmvae.audio.io import read_wave, write_wave
from ecmvae.audio.vggish import log_mel_patches, num_log_mel_patches
from ecmvae.data.jobs import run_jobs
from ecmvae.data.layout import ClipFiles, find_table, read_clips
from ecmvae.data.video import SAMPLE_RATE, SoundReader, SourceFrame, probe, stream_frames
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.client import sha256_of
from ecmvae.manifest import Manifest
from ecmvae.shards import Shard

MANIFEST = "preparation.jsonl"
"""Written beside the csv, a row a clip: what it was made of, or why it was skipped; see `ecmvae.manifest`."""

INSTANT = 15 / 16
"""Where in each second the frame is taken: the last of sixteen instants."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How raw videos become clips."""

    rule: Literal["released", "exact"] = "released"
    """released counts frames at the rounded frame rate, exact goes by timestamps."""
    seconds: int = 5
    """Frames of a clip, one a second."""
    size: int = 224
    """Side of the square frames in pixels."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What became of one clip."""

    status: Literal["pending", "done", "kept", "skipped"]
    """pending: ours, not finished; kept: was done before."""
    reason: str = ""
    """Why it was skipped."""
    sha256: str = ""
    """Of the raw video, as are the rest."""
    duration: float | None = None
    """Seconds of picture that the file declares."""
    fps: float | None = None
    silent: bool = False
    """Whether it has no sound at all."""


def prepare(
    root: str | Path,
    task: Literal["s4", "ms3"],
    settings: PrepareSettings = PrepareSettings(),  # it is frozen
    *,
    workers: int = 1,
    force: bool = False,
    shard: Shard | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> dict[str, Prepared]:
    """Make frames, sound and log-mel patches of every raw video under a task's folder.

    Clips that an earlier call finished with the same settings and the same video are kept, and a video that could not
    be read is not tried again. Frames and sounds that are
    there but were not made by us, such as the released ones, are left alone unless `force` is set.

    Args:
        root: Folder that holds `Single-source` or `Multi-sources` with the csv and `raw_videos`.
        task: "s4" or "ms3".
        settings: How; by default as released.
        workers: Processes.
        force: Make everything again.
        shard: The part of the table that this call makes; other calls make the others, at the same time if need be.
        retry_failed: Try videos again that were skipped before and have not changed.
        progress: Whether to show a progress bar.

    Returns:
        What became of each clip, by name. The same is in `preparation.jsonl`, or in `preparation.3-of-64.jsonl`.

    Raises:
        UserError: If the table is missing or wrong, an earlier call used other settings, or its manifest is damaged.
    """
    clips = read_clips(root, task)
    if shard:
        clips = shard.of(clips)
    path = find_table(root, task).parent / MANIFEST
    results: dict[str, Prepared] = {}
    with Manifest(path, {"settings": asdict(settings)}, shard=shard, force=force) as manifest:
        known = {} if force else _known(manifest, retry_failed=retry_failed)

        def note(clip: ClipFiles, result: Prepared) -> None:
            manifest.append(clip.raw_video, clip=clip.name, **_fields(result))

        for clip in clips:
            # Noted before anything is written, so that what a killed run left behind is known to be ours.
            if clip.name not in known and (
                force or not any(path.is_file() for path in _outputs(clip, settings))
            ):
                known[clip.name] = Prepared(status="pending")
                note(clip, known[clip.name])
        jobs = [(clip, known.get(clip.name)) for clip in clips]
        done = run_jobs(
            partial(_prepare_one, settings=settings),
            jobs,
            workers,
            title="preparing",
            progress=progress,
        )
        for clip, result in zip(clips, done, strict=True):
            results[clip.name] = result
            if result.status != "kept" and result != known.get(clip.name):
                note(clip, result)
    return results


def sample_frames(path: Path, settings: PrepareSettings) -> list[NDArray[np.uint8]]:
    """One frame (H, W, 3) RGB for every second of a video; the last one again where the video is too short.

    Raises:
        UserError: If the video cannot be read or has no frame.
    """
    rate = round(float(probe(path).fps))
    chosen: list[NDArray[np.uint8]] = []
    before: SourceFrame | None = None
    for frame in stream_frames(path):
        while (
            len(chosen) < settings.seconds
            and before is not None
            and _is_late(frame, len(chosen), rate, settings)
        ):
            chosen.append(before.rgb())
        if len(chosen) == settings.seconds:
            return chosen
        before = frame
    if before is None:
        raise UserError(f"{path}: has no frame")
    return chosen + [before.rgb()] * (settings.seconds - len(chosen))


def _is_late(frame: SourceFrame, second: int, rate: int, settings: PrepareSettings) -> bool:
    """Whether a frame comes after the one that stands for a second."""
    if settings.rule == "released":
        return frame.index > int(second * rate + INSTANT * rate)
    return frame.time > second + INSTANT + 1e-6


def _outputs(clip: ClipFiles, settings: PrepareSettings) -> list[Path]:
    return [*(clip.frame(k) for k in range(1, settings.seconds + 1)), clip.wav, clip.log_mel]


def _prepare_one(job: tuple[ClipFiles, Prepared | None], settings: PrepareSettings) -> Prepared:
    """Make one clip's files; without an entry in the manifest, what is there is not ours."""
    clip, entry = job
    there = [path.is_file() for path in _outputs(clip, settings)]
    if not clip.raw_video.is_file():
        return Prepared(status="skipped", reason=f"{clip.raw_video}: no such video")
    sha256 = sha256_of(clip.raw_video)
    if (
        entry is not None
        and entry.status in ("done", "kept")
        and entry.sha256 == sha256
        and all(there)
    ):
        return replace(entry, status="kept")
    if (
        entry is not None
        and entry.status == "skipped"
        and entry.sha256 == sha256
        and not any(there)
    ):
        return entry
    if any(there) and (entry is None or entry.status == "skipped"):
        return Prepared(
            status="skipped", reason="frames or sound exist and were not made here", sha256=sha256
        )
    try:
        info = probe(clip.raw_video)
        waveform, silent = _read_sound(clip.raw_video, info.duration, settings)
        pictures = sample_frames(clip.raw_video, settings)
    except UserError as error:
        return Prepared(status="skipped", reason=str(error), sha256=sha256)
    _write_sound(clip, waveform, settings)
    for k, pixels in enumerate(pictures, start=1):
        with replacing(clip.frame(k)) as path:
            # Bilinear between neighbours, without antialiasing, is what the released preparation's resize does.
            picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            small = torch.nn.functional.interpolate(
                picture, (settings.size, settings.size), mode="bilinear"
            )
            Image.fromarray(small[0].permute(1, 2, 0).numpy()).save(path)
    return Prepared(
        status="done", sha256=sha256, duration=info.duration, fps=float(info.fps), silent=silent
    )


def _read_sound(
    path: Path, duration: float | None, settings: PrepareSettings
) -> tuple[Float[np.ndarray, " s"], bool]:
    """The sound of the picture's first seconds at 16 kHz, and whether the video has no sound at all."""
    seconds = min(duration or settings.seconds, settings.seconds)
    with SoundReader(path, warn=False) as reader:
        waveform = reader.read(0, round(seconds * SAMPLE_RATE))
    if num_log_mel_patches(len(waveform)) == 0:
        raise UserError(f"{path}: {seconds:.2f} s are too short for one log-mel patch (0.98 s)")
    return waveform, reader.silent


def _write_sound(
    clip: ClipFiles, waveform: Float[np.ndarray, " s"], settings: PrepareSettings
) -> None:
    clip.wav.parent.mkdir(parents=True, exist_ok=True)
    write_wave(clip.wav, torch.from_numpy(waveform))
    stored, rate = read_wave(clip.wav)
    patches = log_mel_patches(
        stored, rate, num_patches=None if settings.rule == "released" else settings.seconds
    )
    # As released: a short clip's last patch stands in for the missing ones.
    patches = patches[torch.arange(settings.seconds).clamp(max=len(patches) - 1)]
    with replacing(clip.log_mel) as path:
        path.write_bytes(pickle.dumps(patches))


def _known(manifest: Manifest, *, retry_failed: bool) -> dict[str, Prepared]:
    """What earlier calls with the same settings made of each clip, wherever the folder was then."""
    known = {}
    for row in sorted(manifest.rows.values(), key=lambda row: str(row["finished"])):
        entry = Prepared(
            status=row["status"],
            reason=str(row.get("error", "")),
            **{name: row[name] for name in ("sha256", "duration", "fps", "silent") if name in row},
        )
        tried_again = retry_failed and entry.status == "skipped"
        known[str(row.get("clip"))] = Prepared(status="pending") if tried_again else entry
    return known


def _fields(result: Prepared) -> dict[str, Any]:
    """As a row of the manifest has them."""
    fields = asdict(result)
    return {"error": fields.pop("reason"), **fields}
