"""Train one configuration under several switches and seeds, and put the scores into one table.

    python tools/run_ablation.py --config configs/debug.yaml --seeds 0 1 --out runs/study \
        --switches configs/ablations/latent_none.yaml configs/ablations/no_kl.yaml
    python tools/run_ablation.py --config configs/ms3_pvt.yaml --data AVSBench --split test --seeds 0 1 2 \
        --out runs/ms3_study --switches configs/ablations/*.yaml

The configuration itself is the first row of the table. With --data every finished run is scored on the split;
otherwise the table shows the best validation. Runs go one after the other, each in a process of its own, whose log lies
beside its folder. The same command again goes on where it was stopped, tries once more what failed, and takes further
switches and seeds into the study. Exit codes: 0 all runs finished; 2 one failed by a user's mistake; 1 one failed
otherwise; 130 and 143 stopped by Ctrl-C or SIGTERM, with the checkpoint of the run under way saved.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from collect_results import FINISHED, STUDY_FILE, collect, table, write_csv

from ecmvae.config import load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.client import sha256_of
from ecmvae.hub.named_models import CONFIG_FILE, WEIGHTS_FILE
from ecmvae.training.settings import without_effect

COMMAND = [sys.executable, "-m", "ecmvae"]
BASE = "base"
_PLACES = ("train.out", "train.name", "train.device", "train.devices", "data.workers", "data.root")


@dataclass
class Entry:
    """One run of the study, as study.json has it.

    Attributes:
        switch: Name of the switch's file; "base" without one.
        seed: The run's seed.
        folder: Its folder below the study's.
        state: "waiting", "finished", "stopped: ..." or "failed: ...".
        code: Exit code of the command that ended it.
    """

    switch: str
    seed: int
    folder: str
    state: str = "waiting"
    code: int = 0


@dataclass(frozen=True, kw_only=True)
class Study:
    """What to run, and where.

    Attributes:
        configs: Files laid over each other: what all runs share.
        settings: Dotted settings, laid over those, as words of the command line: ["--train.epochs", "3"].
        switches: Files laid over that, one at a time.
        seeds: Seeds of each.
        out: Folder of the study.
        data: Folder to score each run on; None = none.
        split: Split of it.
        task: Task of it.
    """

    configs: Sequence[Path]
    settings: Sequence[str]
    switches: Sequence[Path]
    seeds: Sequence[int]
    out: Path
    data: Path | None = None
    split: str = "test"
    task: str = "auto"

    def run(self) -> int:
        """Do what is not done yet; returns the exit code.

        Raises:
            UserError: Before anything is started, for a configuration that cannot be or is not that of the runs there.
        """
        wanted = {(name, seed): self._words(name, seed) for seed in self.seeds for name in self._files()}
        self._check(wanted)
        with _alone(self.out) as lock:
            entries = self._entries(wanted)
            for number, (key, words) in enumerate(wanted.items(), 1):
                print(f"[{number}/{len(wanted)}] {key[0]}, seed {key[1]}", flush=True)
                self._do(entries, entries[key], words, lock)
                print(f"    {entries[key].state}", flush=True)
                if entries[key].code in (130, 143):
                    print(f"stopped; the same command goes on: {self.out}")
                    return entries[key].code
        runs = collect([self.out])
        with replacing(self.out / "results.md") as part:
            part.write_text(table(runs), encoding="utf-8")
        write_csv(runs, self.out / "results.csv")
        print(f"\n{table(runs)}\nwritten: {self.out}/results.md, results.csv, {STUDY_FILE}")
        codes = {entry.code for entry in entries.values()} - {0}
        return 0 if not codes else 2 if 2 in codes else 1

    def _files(self) -> dict[str, list[Path]]:
        """Configuration files of each row, by its name."""
        return {BASE: [], **{switch.stem: [switch] for switch in self.switches}}

    def _words(self, name: str, seed: int) -> list[str]:
        """Command-line options that describe a run."""
        files = [word for path in [*self.configs, *self._files()[name]] for word in ("--config", str(path))]
        own = {"train.seed": seed, "train.out": self.out, "train.name": f"{name}-seed{seed}"}
        return [*files, *self.settings, *(word for key, value in own.items() for word in (f"--{key}", str(value)))]

    def _check(self, wanted: dict[tuple[str, int], list[str]]) -> None:
        names = [switch.stem for switch in self.switches]
        if len({BASE, *names}) <= len(names):
            raise UserError(f"two switches have one name, or one is named {BASE}: {', '.join(names)}")
        if len(self.seeds) != len(set(self.seeds)):
            raise UserError("a seed is named twice: it would be the same run again")
        plain = None
        for (name, seed), words in wanted.items():
            resolved = load_config(*_parsed(words))
            config, idle = by_dotted_name(resolved.to_dict()), without_effect(resolved)
            if name == BASE:
                plain = config
            elif plain is not None:
                changed = [
                    key for key in config if config[key] != plain[key] and key not in ("train.name", "train.seed")
                ]
                if not set(changed) - idle.keys():
                    why = "".join(f" ({key} has no effect with {idle[key]})" for key in changed)
                    raise UserError(f"switch {name} changes nothing in this configuration{why}: leave it out")
            folder = self._run_folder(name, seed)
            if (folder / CONFIG_FILE).exists():
                there = by_dotted_name(load_config(folder / CONFIG_FILE).to_dict())
                odd = [key for key in config if config[key] != there.get(key) and key not in _PLACES]
                if odd:
                    raise UserError(
                        f"{folder} was started with {odd[0]}={there.get(odd[0])}, not {config[odd[0]]}: choose another "
                        "--out for another study, or remove that run"
                    )

    def _run_folder(self, name: str, seed: int) -> Path:
        return self.out / f"{name}-seed{seed}-001"

    def _entries(self, wanted: dict[tuple[str, int], list[str]]) -> dict[tuple[str, int], Entry]:
        """Those of study.json, and new ones; all are kept, also such as are not asked for now."""
        path = self.out / STUDY_FILE
        stored = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
        entries = {(entry["switch"], entry["seed"]): Entry(**entry) for entry in stored}
        for name, seed in wanted:
            entries.setdefault((name, seed), Entry(name, seed, self._run_folder(name, seed).name))
        return entries

    def _do(self, entries: dict[tuple[str, int], Entry], entry: Entry, words: list[str], lock: IO[str]) -> None:
        """Train what is not trained and score what is not scored; study.json always says how far it came."""
        folder = self.out / entry.folder
        log = self.out / f"{entry.switch}-seed{entry.seed}.log"
        if entry.state != FINISHED:
            begun = (folder / "checkpoints" / "last.ckpt").exists()
            if folder.exists() and not begun:  # it left nothing to go on from, and its number should be free
                shutil.rmtree(folder)
            self._run(entry, ["train", *(["--resume", str(folder)] if begun else words)], log, lock)
            self._save(entries)
        if entry.state == FINISHED and self.data is not None and not self._scored(folder):
            asked = ["--data", str(self.data), "--split", self.split, "--task", self.task]
            self._run(
                entry, ["evaluate", "--checkpoint", str(folder), *asked, "--out", str(folder / "scores")], log, lock
            )
            if entry.state != FINISHED:  # it is trained: only the scores are missing
                entry.state = entry.state.replace("failed", "trained, but scoring failed")
        self._save(entries)

    def _scored(self, folder: Path) -> bool:
        """Whether the run's best model has a report on this split."""
        digest = sha256_of(folder / "best" / WEIGHTS_FILE)
        reports = [json.loads(path.read_text(encoding="utf-8"))["about"] for path in folder.rglob("report.json")]
        return any(
            (each["sha256"], each["split"], each["data"]) == (digest, self.split, str(self.data)) for each in reports
        )

    def _run(self, entry: Entry, words: list[str], log: Path, lock: IO[str]) -> None:
        """One command in a process of its own, which holds the study's lock, too, should it outlive us."""
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ ecmvae {' '.join(words)}\n")
            file.flush()
            process = subprocess.Popen([*COMMAND, *words], stdout=file, stderr=file, pass_fds=[lock.fileno()])
            with _handed_on(process) as received:
                entry.code = process.wait()
        if received or entry.code in (130, 143):
            entry.code = 128 + received[0] if received else entry.code
            entry.state = "stopped; the same command goes on"
        elif entry.code == 0:
            entry.state = FINISHED
        else:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
            entry.state = f"failed (exit {entry.code}): {last.removeprefix('ecmvae: ')}"

    def _save(self, entries: dict[tuple[str, int], Entry]) -> None:
        with replacing(self.out / STUDY_FILE) as part:
            content = {"runs": [asdict(entry) for entry in entries.values()]}
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _alone(folder: Path) -> Iterator[IO[str]]:
    """A lock on the study's folder, held as long as we or a run of ours live.

    Raises:
        UserError: When somebody else holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is being run by another process: wait for it or stop it") from None
        yield lock


@contextmanager
def _handed_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Hands SIGTERM and Ctrl-C on to the process, which saves its checkpoint; yields the signals received."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTERM:  # a terminal sends Ctrl-C to the process by itself
            process.terminate()

    previous = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _parsed(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Files and settings of options as `ecmvae train` takes them.

    Raises:
        UserError: For a setting without a value.
    """
    files, settings = [], {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "--config":
            files.append(value)
        else:
            settings[option.removeprefix("--")] = value
    return files, settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, action="append", required=True, help="YAML file; may be given again")
    parser.add_argument(
        "--switches", type=Path, nargs="*", default=[], metavar="FILE", help="laid over it, one at a time"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--data", type=Path, help="score each run on this folder, as ecmvae evaluate does")
    parser.add_argument("--split", default="test", help="split to score; default: test")
    parser.add_argument("--task", default="auto", help="s4, ms3, avss or auto: every task that the folder holds")
    options, settings = parser.parse_known_args(arguments)
    try:
        odd = [word for word in settings[::2] if not word.startswith("--") or "." not in word]
        if odd or len(settings) % 2:
            raise UserError(f"{(odd or settings[-1:])[0]}: neither an option nor a setting such as --train.epochs 3")
        return Study(
            configs=options.config,
            settings=settings,
            switches=options.switches,
            seeds=options.seeds,
            out=options.out,
            data=options.data,
            split=options.split,
            task=options.task,
        ).run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
