"""Run a study: one process a run, one after the other; a stopped study goes on, and a failure stops no other run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from ecmvae.config import Config, load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path, write_json
from ecmvae.foreign_text import LARGE, cut, read_json
from ecmvae.hub.client import sha256_of
from ecmvae.hub.named_models import CONFIG_FILE, WEIGHTS_FILE
from ecmvae.locks import open_locked
from ecmvae.study.runs import FINISHED, STUDY_FILE, collect
from ecmvae.study.table import StudyTable
from ecmvae.study.variants import Variant

COMMAND = [sys.executable, "-m", "ecmvae"]
"""How the runs are started."""

RESULTS = "results"
"""Stem of the files with the table."""

_STOPPED = (130, 143)
_PLACES = ("train.out", "train.name", "train.device", "train.devices", "data.workers", "data.root")
"""What may be otherwise when a study goes on, on another machine for instance."""


@dataclass
class Entry:
    """One run of the study, as study.json has it.

    Attributes:
        variant: Name of the variant; "base" is the configuration itself.
        seed: The run's seed.
        folder: Its folder below the study's.
        state: "waiting", "finished", "stopped: ..." or "failed ...".
        code: Exit code of the command that ended it.
    """

    variant: str
    seed: int
    folder: str
    state: str = "waiting"
    code: int = 0


Key = tuple[str, int]
"""Name of a variant, and a seed."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What to run, and where.

    Attributes:
        variants: Of `ecmvae.study.variants.read_variants`; the others are compared with the first.
        seeds: Seeds of each.
        out: Folder of the study.
        data: Folder to score each run on; None = none.
        split: Split of it.
        task: Data set to score on; auto = all in the folder.
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    out: Path
    data: str | None = None
    split: str = "test"
    task: str = "auto"

    @property
    def scores(self) -> bool:
        """Whether the runs are scored."""
        return self.data is not None or self.task != "auto"

    def check(self) -> None:
        """Compare with what is in the folder already.

        Raises:
            UserError: If a run of the same name was started with other settings.
        """
        for (name, seed), config in self._wanted().items():
            folder = self._run_folder(name, seed)
            if not (folder / CONFIG_FILE).exists():
                continue
            here, there = (
                by_dotted_name(each.to_dict())
                for each in (config, load_config(folder / CONFIG_FILE))
            )
            odd = [key for key in here if here[key] != there.get(key) and key not in _PLACES]
            if odd:
                raise UserError(
                    f"{show_path(folder)} was started with {odd[0]}={there.get(odd[0])}, not {here[odd[0]]}: choose "
                    "another --out for another study, or remove that run"
                )

    def run(self) -> int:
        """Do what is not done yet, and write the table.

        Returns:
            The exit code: 0 all runs finished; 2 one failed by a user's mistake; 1 one failed otherwise; 130 and 143
            stopped by Ctrl-C or SIGTERM.

        Raises:
            UserError: If another process runs this study.
        """
        wanted = self._wanted()
        with _alone(self.out) as lock:
            entries = self._entries(wanted)
            for number, (key, config) in enumerate(wanted.items(), 1):
                started, before = time.monotonic(), entries[key].state
                print(f"[{number}/{len(wanted)}] {key[0]}, seed {key[1]}", flush=True)
                self._do(entries, entries[key], config, lock)
                took = (
                    "" if before == FINISHED else f", {(time.monotonic() - started) / 60:.1f} min"
                )
                print(f"    {entries[key].state}{took}", flush=True)
                if entries[key].code in _STOPPED:
                    print(f"stopped; the same command goes on: {show_path(self.out)}")
                    return entries[key].code
        table = StudyTable.of(collect([self.out]))
        files = table.write(self.out / RESULTS)
        print(
            f"\n{table.to_markdown()}\nwritten: {show_path(files[0])}, {', '.join(each.name for each in files[1:])}"
        )
        codes = {entry.code for entry in entries.values()} - {0}
        return 0 if not codes else 2 if 2 in codes else 1

    def _wanted(self) -> dict[Key, Config]:
        """Every run's configuration, the first seed of every variant first."""
        return {
            (variant.name, seed): replace(
                variant.config,
                train=replace(
                    variant.config.train,
                    seed=seed,
                    out=str(self.out),
                    name=f"{variant.name}-seed{seed}",
                ),
            )
            for seed in self.seeds
            for variant in self.variants
        }

    def _run_folder(self, name: str, seed: int) -> Path:
        return self.out / f"{name}-seed{seed}-001"

    def _entries(self, wanted: dict[Key, Config]) -> dict[Key, Entry]:
        """Those of study.json, and new ones; all are kept, also such as are not asked for now."""
        path = self.out / STUDY_FILE
        stored = read_json(path, LARGE)["runs"] if path.exists() else []
        entries = {(entry["variant"], entry["seed"]): Entry(**entry) for entry in stored}
        for name, seed in wanted:
            entries.setdefault((name, seed), Entry(name, seed, self._run_folder(name, seed).name))
        return entries

    def _do(self, entries: dict[Key, Entry], entry: Entry, config: Config, lock: int) -> None:
        """Train what is not trained and score what is not scored; study.json always says how far it came."""
        folder = self.out / entry.folder
        if entry.state != FINISHED:
            begun = (folder / "checkpoints" / "last.ckpt").exists()
            # it left nothing to go on from, and its number should be free
            if folder.exists() and not begun:
                shutil.rmtree(folder)
            words = ["--resume", str(folder)] if begun else self._new(entry, config)
            self._start(entry, ["train", *words], lock)
            self._save(entries)
        if entry.state == FINISHED and self.scores and not self._scored(folder):
            given = [] if self.data is None else ["--data", self.data]
            where = ["--split", self.split, "--task", self.task, "--device", config.train.device]
            words = ["--checkpoint", str(folder), *given, *where, "--out", str(folder / "scores")]
            self._start(entry, ["evaluate", *words], lock)
            if entry.state != FINISHED:  # it is trained: only the scores are missing
                entry.state = entry.state.replace("failed", "trained, but scoring failed")
        self._save(entries)

    def _new(self, entry: Entry, config: Config) -> list[str]:
        """Options of a run that starts: its recipe, for differs.md, and over it a file with every setting."""
        file = self.out / f"{config.train.name}.yaml"
        with replacing(file) as part:
            part.write_text(config.to_yaml(), encoding="utf-8")
        (variant,) = (each for each in self.variants if each.name == entry.variant)
        return [word for path in (*variant.files[:1], str(file)) for word in ("--config", path)]

    def _scored(self, folder: Path) -> bool:
        """Whether the run's best model has a report on this split."""
        digest = sha256_of(folder / "best" / WEIGHTS_FILE)
        reports = [read_json(path, LARGE)["about"] for path in folder.rglob("report.json")]
        return any(
            each["sha256"] == digest
            and each["split"] == self.split
            and self.data in (None, each["data"])
            and self.task in ("auto", each["task"])
            for each in reports
        )

    def _start(self, entry: Entry, words: list[str], lock: int) -> None:
        """One command in a process of its own, which holds the study's lock, too, should it outlive us."""
        log = self.out / f"{entry.variant}-seed{entry.seed}.log"
        kept = (lock,) if os.name == "posix" else ()
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ ecmvae {' '.join(words)}\n")
            file.flush()
            process = subprocess.Popen([*COMMAND, *words], stdout=file, stderr=file, pass_fds=kept)
            with _handed_on(process) as received:
                entry.code = process.wait()
        if received or entry.code in _STOPPED:
            entry.code = 128 + received[0] if received else entry.code
            entry.state = "stopped; the same command goes on"
        elif entry.code == 0:
            entry.state = FINISHED
        else:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
            entry.state = f"failed (exit {entry.code}): {cut(last.removeprefix('ecmvae: '), 300)}"

    def _save(self, entries: dict[Key, Entry]) -> None:
        write_json(self.out / STUDY_FILE, {"runs": [asdict(entry) for entry in entries.values()]})


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """A lock on the study's folder, held as long as we or a run of ours live.

    Raises:
        UserError: When another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_locked(folder / ".lock", os.O_RDWR | os.O_CREAT) as lock:
        if lock is None:
            raise UserError(
                f"{show_path(folder)} is being run by another process: wait for it or stop it"
            )
        yield lock


@contextmanager
def _handed_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Hands SIGTERM and Ctrl-C on to the process, which saves its checkpoint; yields the signals received."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTERM:  # a terminal sends Ctrl-C to the process by itself
            process.terminate()

    previous = {
        number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
