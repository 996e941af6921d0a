"""What `check-data` finds in a clip, and the readers that turn what is wrong into a finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ecmvae.data.fingerprints import fingerprint
from ecmvae.data.images import of_size
from ecmvae.errors import UserError

SILENT_RMS = 1e-4
"""A clip whose sound is below this (-80 dB of full scale) counts as silent."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or suspicious, in one line that names the file."""

    severity: Literal["error", "warning"]
    kind: str
    """missing-file, bad-file, short-audio, silent-audio, empty-mask, grey-mask, near-duplicate or counts."""
    clip: str
    """Name of the clip, "" when it is about the whole."""
    message: str


class Look:
    """What looking at one clip gives: findings, and the fingerprints of its pictures."""

    def __init__(self, clip: str) -> None:
        self.clip = clip
        self.findings: list[Finding] = []
        self.fingerprints: list[NDArray[np.float32]] = []

    def error(self, kind: str, message: str) -> None:
        """Something that a training run would stumble over."""
        self.findings.append(Finding("error", kind, self.clip, message))

    def warn(self, kind: str, message: str) -> None:
        """Something that is worth a look."""
        self.findings.append(Finding("warning", kind, self.clip, message))

    def read(
        self, path: Path, reader: Callable[[Path], Any], size: tuple[int, ...] | None = None
    ) -> Any | None:
        """What is in a file; None if it is missing, damaged or not of that size in pixels."""
        return self.attempt(
            [path], lambda: reader(path) if size is None else of_size(path, reader(path), size)
        )

    def attempt(self, paths: Sequence[Path], read: Callable[[], Any]) -> Any | None:
        """What `read` gives; None if one of the files that it needs is missing, or it raises a `UserError`."""
        missing = [path for path in paths if not path.is_file()]
        for path in missing:
            self.error("missing-file", f"{path}: missing")
        if missing:
            return None
        try:
            return read()
        except UserError as error:
            self.error("bad-file", str(error))
            return None

    def add_picture(self, pixels: NDArray[np.uint8]) -> None:
        """Remember its fingerprint."""
        if (one := fingerprint(pixels)) is not None:
            self.fingerprints.append(one)

    def add_sound(self, name: str, waveform: Tensor) -> None:
        """Warn if it is silent."""
        if float(waveform.square().mean().sqrt()) < SILENT_RMS:
            self.warn("silent-audio", f"{name}: silent")
