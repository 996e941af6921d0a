"""Options of prediction and of its outputs, validated once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError, check_range
from ecmvae.foreign_text import short
from ecmvae.shards import Shard

Style = Literal["contour", "heatmap", "spotlight"]
"""Of an overlay: tint and outline, probability over the whole picture, or everything silent darkened."""


EngineName = Literal["auto", "eager", "onnx", "compile"]
"""What runs the model: the best choice for it, PyTorch, onnxruntime, or PyTorch compiled."""


ExecutorName = Literal["local", "ray"]
"""Who works on the files: this process, one after the other, or actors of Ray."""


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """How a run over many files is split, noted down and spread over processes."""

    shard: Shard | None = None
    """The part of the files that is this process's; None = all."""
    manifest: Path | None = None
    """JSON lines with a row for each finished file."""
    retry_failed: bool = False
    """Try files again whose row says that they failed."""
    executor: ExecutorName = "local"
    """Who works on the files."""
    workers: int | None = None
    """Actors of Ray; None = as many as the cluster has room for."""
    gpus_per_worker: float | None = None
    """GPUs, or a part of one, that each actor of Ray reserves; None = none."""

    def __post_init__(self) -> None:
        """Raise a `UserError` that names an option out of its range, or without effect."""
        for name, value, low in (
            ("workers", self.workers, 1),
            ("gpus_per_worker", self.gpus_per_worker, 0),
        ):
            if value is None:
                continue
            if self.executor != "ray":
                raise UserError(
                    f"--{name} needs --executor ray; without it start several processes with --shard"
                )
            check_range(f"--{name}", value, low, 10_000)
        if self.retry_failed and self.manifest is None:
            raise UserError("--retry_failed needs --manifest, which says what has failed")


@dataclass(frozen=True, kw_only=True)
class WriterOptions:
    """Choices that concern several output formats."""

    style: Style = "contour"
    """Style of the overlay."""
    loudness: bool = False
    """Draw a strip with the loudness of the last five seconds at the foot of the overlay."""
    uncertainty: bool = False
    """Put a second picture with the uncertainty to the right of the overlay."""
    audio_track: int = 0
    """Audio track of the source to keep, from 0."""
    reframe: str = ""
    """Aspect of the reframed video, such as 9:16."""

    def __post_init__(self) -> None:
        """Raise a `UserError` for an aspect that is none."""
        if self.reframe:
            parse_aspect(self.reframe)


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """Choices that concern cameras and streams."""

    seconds: float | None = None
    """Stop after so many seconds; None = when it ends, or with Ctrl-C."""
    microphone: str | None = "default"
    """What is heard beside a camera, by the system's name for it; None = nothing."""
    patience: float = 10.0
    """Seconds without anything after which a stream counts as stopped."""

    def __post_init__(self) -> None:
        """Raise a `UserError` that names an option out of its range."""
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UserError(f"--seconds must be above 0, got {self.seconds:g}")
        check_range("--patience, in seconds,", self.patience, 0.1, 3600)


def parse_aspect(text: str) -> Fraction:
    """The aspect that ``9:16`` stands for.

    Raises:
        UserError: If the text is not of that form.
    """
    found = re.fullmatch(r"([1-9]\d{0,4}):([1-9]\d{0,4})", text)
    if found is None:
        raise UserError(f"--reframe takes an aspect like 9:16 or 1:1, not {short(text)}")
    return Fraction(int(found[1]), int(found[2]))


@dataclass(frozen=True, kw_only=True)
class PredictorOptions:
    """Options of `VideoPredictor`."""

    fps: float = 4.0
    """Key frames a second that go through the model; masks of the frames between are interpolated."""
    samples: int = 1
    """Latent samples K: 1 takes the latents' means (deterministic), more average K masks and give an uncertainty that
    includes the latents' spread."""
    threshold: float = 0.5
    """A pixel is in the mask where its probability is above this."""
    batch: int = 4
    """Clips in one pass through the model on a GPU, and with latent samples; else one goes at a time, which on a
    CPU costs less time and memory."""
    half: bool = False
    """Half precision inside the model: float16 on a GPU, bfloat16 on a CPU."""
    smoothing: float = 0.25
    """Standard deviation in seconds of a Gaussian over time on the key frames' probabilities; 0 = off."""
    squash: bool = False
    """Stretch the picture to the model's square instead of keeping its aspect with bars."""
    audio_track: int = 0
    """Which audio track of the video to hear, from 0."""
    seed: int = 0
    """Seed of the latent samples."""
    concepts: str | None = None
    """A model without training alone: what to listen and look for, as words with commas between them, or the path of a
    table of names (.csv); None = the tagger's own names."""
    cache: bool = True
    """A model without training alone: keep on disk what its networks made of pictures and sounds, for other calls."""

    def __post_init__(self) -> None:
        """Raise a `UserError` that names an option out of its range."""
        if not 0 < self.fps <= 1000:
            raise UserError(f"fps must be above 0 and at most 1000, got {self.fps:g}")
        if not 0 <= self.threshold <= 1:
            raise UserError(f"threshold is a probability between 0 and 1, got {self.threshold:g}")
        check_range("samples", self.samples, 1, 10_000)
        check_range("batch", self.batch, 1, 10_000)
        check_range("smoothing, in seconds,", self.smoothing, 0, 60)
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed is a whole number from 0 to 2^63 - 1, got {self.seed}")

    @property
    def stride(self) -> int:
        """Key frames from one frame of a clip to the next: as many as make about one second."""
        return max(round(self.fps), 1)
