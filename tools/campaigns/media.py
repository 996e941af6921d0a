"""Damaged and unusual media through `ecmvae predict`, file after file in one process.

Small files of nineteen kinds (MP4, WebM, Matroska, AVI, NUT, MOV, GIF, MPEG, FLV, audio and pictures) get flipped bits,
blocks that are cut, swapped or zeroed, and extreme numbers in their headers; others are well formed but have unusual
time bases, rates or sizes, no frames, or a thousand frames at one moment. Each must either be predicted or be refused
in one line, within 30 seconds of CPU time and without half-written output. Every eighth comes together with an intact
video, which must be predicted whatever happens to the other. Resident memory is the median over twenty files in a row.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from campaigns.base import Campaign, Trial
from campaigns.containers import MUTATIONS, SEEDS, odd
from campaigns.worker import Answer, Worker
from ecmvae.data.video import probe
from ecmvae.errors import UserError

MEMORY_MB = 6000
"""Address space of the process that predicts."""
_WINDOW = 20
_MARKS = (100, 1000)


class Media(Campaign):
    """See the module."""

    runs = 2000
    quick = 14

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self._stack = ExitStack()
        self._resident: list[float] = []
        self._deaths = 0

    def __enter__(self) -> Self:
        home = self.work / "seeds"
        home.mkdir()
        self._seeds = {name: media.write(home / name) for name, media in SEEDS.items()}
        self._good = home / "vp8.webm"
        self._worker = self._stack.enter_context(
            Worker("campaigns.worker:run_command", self.work, memory_limit_mb=MEMORY_MB)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def trial(self, index: int) -> Trial:
        """Predict one damaged file, alone or beside a sound one."""
        rng = self.rng(index)
        folder = self.work / "attack"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kind, path, detail = self._write(folder, rng)
        together, out = rng.random() < 1 / 8, folder / "out"
        if together:
            shutil.copy(self._good, folder / "good.webm")
            words = [str(path), str(folder / "good.webm"), "--out", str(out)]
            targets = {
                path: out / "bad.overlay.mp4",
                folder / "good.webm": out / "good.overlay.mp4",
            }
        else:
            words, targets = [str(path), "--out", str(out / "bad.mp4")], {path: out / "bad.mp4"}
        # one key frame a second: four times the attacks
        answer = self._worker(["predict", *words, "--fps", "1"])
        if answer.resident:
            self._resident.append(answer.resident)
        else:
            self._deaths += 1
        lost = answer.fault((0, 2)) or _written_wrongly(answer, out, targets)
        if not lost and together and not targets[folder / "good.webm"].is_file():
            lost = "the intact file beside it was not predicted"
        if together:
            kind, detail = f"{kind}, with an intact file", f"{detail}, then good.webm"
        return Trial(kind, lost, detail, answer.megabytes or None, answer.cpu_seconds)

    def _write(self, folder: Path, rng: random.Random) -> tuple[str, Path, str]:
        """Make the file of an attack: its kind, where it lies and what it is."""
        if rng.random() < 0.15:
            kind, suffix, media = odd(rng)
            path = folder / f"bad{suffix}"
            media.write(path)
            return kind, path, f"{suffix} {media}"
        name, kind = rng.choice(list(self._seeds)), rng.choice(list(MUTATIONS))
        data = MUTATIONS[kind](self._seeds[name], rng)
        more = rng.choice(list(MUTATIONS)) if rng.random() < 0.2 and data else ""
        if more:
            data = MUTATIONS[more](data, rng)
        path = folder / f"bad{Path(name).suffix}"
        path.write_bytes(data)
        return kind, path, f"{name}, {len(data)} bytes{f', then {more}' if more else ''}"

    def figures(self) -> Mapping[str, float | int | str]:
        """Resident memory of the process after so many files, and how often it had to be started again."""
        found: dict[str, float | int | str] = {"deaths": self._deaths}
        after = {
            mark: round(median(self._resident[mark - _WINDOW : mark]), 1)
            for mark in _MARKS
            if len(self._resident) >= mark
        }
        found |= {f"megabytes_after_{mark}": value for mark, value in after.items()}
        if len(after) == len(_MARKS):
            found["memory_ratio"] = round(after[_MARKS[1]] / after[_MARKS[0]], 3)
        return found


def _written_wrongly(answer: Answer, out: Path, targets: Mapping[Path, Path]) -> str:
    """What is wrong with the folder of outputs: something left of a failure, or an output that is missing or broken."""
    there = set(out.rglob("*")) if out.is_dir() else set()
    if odd_ones := there - set(targets.values()):
        return f"left behind: {sorted(each.name for each in odd_ones)}"
    if answer.code == 0 and there != set(targets.values()):
        return "exit code 0 without all outputs"
    for target in there:
        try:
            probe(target)
        except UserError as error:
            return f"the output cannot be read: {error}"
    missing = [source.name for source, target in targets.items() if target not in there]
    if unnamed := [name for name in missing if name not in answer.err]:
        return f"no line says what is wrong with {unnamed[0]}"
    return ""
