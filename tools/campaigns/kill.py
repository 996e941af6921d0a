"""Training, prediction and VAE training, killed and resumed.

A tiny training run is killed at random moments, in the middle of a checkpoint and before a file operation, stopped with
one signal or two, resumed by two processes at once, and run on a disk that is too small; `predict` and `vae train` are
killed likewise. It survives if all files in its folder are complete afterwards, the resumed run ends with the same
weights, optimiser state, scores and best model as an undisturbed one, to the bit, and the next start removes all
temporary files. If no checkpoint was written yet, `--resume` must say so, and a new run must give the same result. The
second of two processes must be refused in one line. The full disk is a tmpfs of 1 to 99 MB if root can mount one,
otherwise a limit on the size of files. The curves are not plotted: that takes longer than the training.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Self

import numpy as np
import torch
from PIL import Image

from campaigns.base import Campaign, Trial
from campaigns.processes import Command, Sabotage
from ecmvae.data.video import write_video
from ecmvae.training.monitor import read_history
from ecmvae.weight_files import read_weight_file

_CONFIG = Path(__file__).parents[2] / "configs" / "debug.yaml"
_TRAIN = {
    "data.length": 4,
    "data.val_length": 1,
    "data.image_size": 32,
    "model.channels": 8,
    "train.batch_size": 2,
    "train.epochs": 3,
    "train.device": "cpu",
    "train.log_images": 0,
}
_VAE = {"data": "digits", "limit": 500, "epochs": 6, "device": "cpu"}
_RUN = "debug-001"

_KINDS = (
    "train: SIGKILL at a random moment",
    "train: SIGKILL inside a checkpoint",
    "train: SIGKILL before a file operation",
    "train: SIGTERM",
    "train: Ctrl-C",
    "train: two signals",
    "train: two processes resume one run",
    "train: full disk",
    "predict: killed",
    "vae train: killed",
)
_STOPS = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Kill(Campaign):
    """Attack number i is of kind i modulo the number of kinds."""

    runs = 40
    quick = 3

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.done: dict[str, int] = {}
        self._commands = 0
        self._stopped: Path | None = None

    def __enter__(self) -> Self:
        """Run everything once without disturbing it."""
        self._start(["--version"]).wait()  # imports
        self.train_seconds, self.train_operations = self._measured(
            self._train_words(self.work / "whole")
        )
        self.whole = _trained(self.work / "whole" / _RUN)
        return self

    def _measured(self, words: list[str]) -> tuple[float, int]:
        """Seconds and file operations of an undisturbed command."""
        count = self.work / "operations"
        began = time.monotonic()
        fault = self._start(words, Sabotage(folder=self.work, count_to=count)).fault([0])
        if fault:
            raise RuntimeError(f"ecmvae {' '.join(words)}: {fault}")
        return time.monotonic() - began, int(count.read_text())

    def figures(self) -> Mapping[str, float | int | str]:
        """How the attacks ended."""
        return self.done

    def trial(self, index: int) -> Trial:
        """Attack, look at what is left, take up again, compare."""
        kind, rng, place = _KINDS[index % len(_KINDS)], self.rng(index), self.work / f"{index}"
        place.mkdir()
        attack = {"predict: killed": self._predict, "vae train: killed": self._vae}.get(
            kind, self._train
        )
        if kind == "train: full disk":
            attack = self._full_disk
        elif kind == "train: two processes resume one run":
            attack = self._two
        detail: list[str] = []
        try:
            lost = attack(kind, rng, place, detail)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return Trial(kind, lost, ", ".join(detail))

    def _start(self, words: list[str], sabotage: Sabotage | None = None) -> Command:
        self._commands += 1
        return Command(
            words, self.work / f"output-{self._commands}", self.work / "temporary", sabotage
        )

    def _train_words(self, out: Path, workers: int = 0) -> list[str]:
        settings = {**_TRAIN, "train.out": out, "data.workers": workers}
        return [
            "train",
            "--config",
            str(_CONFIG),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _train(self, kind: str, rng: Random, place: Path, detail: list[str]) -> str:
        words, folder = self._train_words(place, workers=rng.choice([0, 0, 1])), place / _RUN
        lost = self._disturb(
            words, place, kind, rng, detail, (self.train_seconds, self.train_operations)
        )
        return lost or self._taken_up(folder, detail)

    def _disturb(
        self,
        words: list[str],
        place: Path,
        kind: str,
        rng: Random,
        detail: list[str],
        size: tuple[float, int],
    ) -> str:
        """Start a command and stop it as the kind of attack says; why it is lost, if it is."""
        seconds, operations = size
        moment = rng.uniform(0, seconds)
        if kind.endswith("inside a checkpoint"):
            sabotage = Sabotage(folder=place, save=rng.randrange(3), share=rng.random())
            detail.append(f"save {sabotage.save} at {sabotage.share:.0%}")
            return self._start(words, sabotage).fault([-signal.SIGKILL])
        if kind.endswith("before a file operation"):
            sabotage = Sabotage(folder=place, operation=rng.randrange(operations))
            detail.append(f"operation {sabotage.operation} of {operations}")
            return self._start(words, sabotage).fault([-signal.SIGKILL, 0])
        command = self._start(words).after(moment)
        detail.append(f"after {moment:.2f} s")
        if kind.endswith("two signals"):
            first, second = rng.choice([*_STOPS]), rng.choice([*_STOPS, signal.SIGKILL])
            between = rng.choice([0.0, 0.05, rng.uniform(0, 1)])
            detail.append(f"{first.name}, {second.name} {between:.2f} s later")
            command.send(first, second, between=between)
            return command.fault([0, *_STOPS.values(), -first, -second])
        number = signal.SIGKILL
        if kind.endswith("SIGTERM"):
            number = signal.SIGTERM
        elif kind.endswith("Ctrl-C"):
            number = signal.SIGINT
        command.send(number)
        return command.fault([0, _STOPS.get(number, -number)])

    def _taken_up(self, folder: Path, detail: list[str]) -> str:
        """Resume a run; why it is lost, if it is."""
        if broken := _half_written(folder):
            return f"half-written: {broken}"
        resumable = any(
            (folder / "checkpoints" / f"{name}.ckpt").exists() for name in ("last", "previous")
        )
        command = self._start(["train", "--resume", str(folder)])
        if fault := command.fault([0 if resumable else 2]):
            return f"resuming: {fault}"
        if not resumable:
            if "nothing to resume" not in command.text():
                return f"resuming: {command.text()[-200:]}"
            detail.append("nothing to resume")
            self._note("nothing_to_resume")
            if fault := self._start(self._train_words(folder.parent)).fault([0]):
                return f"a new run: {fault}"
            made = max(folder.parent.glob("debug-*"))
        else:
            self._note("resumed")
            made = folder
        if left := _leftovers(folder.parent):
            return f"left over: {left}"
        return _different(self.whole, _trained(made))

    def _two(self, kind: str, rng: Random, place: Path, detail: list[str]) -> str:
        """Two processes resume one run; sometimes the first one is killed, and the run resumed once more."""
        folder = place / _RUN
        shutil.copytree(self._stopped_run(), folder)
        words = ["train", "--resume", str(folder)]
        pause, killed = (
            rng.choice([0.0, rng.uniform(0, self.train_seconds / 3)]),
            rng.random() < 0.5,
        )
        detail.append(f"the second {pause:.2f} s later")
        first = self._start(words).after(pause)
        second = self._start(words)
        codes = sorted(str(each.wait()) for each in ([second] if killed else [first, second]))
        if killed:
            detail.append("the first killed")
            first.send(signal.SIGKILL)
            first.wait()
        elif codes not in (["0", "2"], ["0", "0"]):
            return f"exit codes {codes}: {first.text()[-200:]} {second.text()[-200:]}"
        for each in (first, second):
            lines = each.text().strip().splitlines()
            if each.wait() == 2 and (len(lines) != 2 or "is in use by process" not in lines[1]):
                return f"not refused in one line: {lines}"
            if "Traceback" in each.text():
                return f"traceback: {lines[-1]}"
        self._note("second_refused", "2" in (str(first.wait()), str(second.wait())))
        return self._taken_up(folder, detail)

    def _stopped_run(self) -> Path:
        """A run that was killed inside its second checkpoint."""
        if self._stopped is None:
            out = self.work / "stopped"
            fault = self._start(self._train_words(out), Sabotage(folder=out, save=1)).fault(
                [-signal.SIGKILL]
            )
            if fault:
                raise RuntimeError(fault)
            self._stopped = out / _RUN
        return self._stopped

    def _full_disk(self, kind: str, rng: Random, place: Path, detail: list[str]) -> str:
        """A file system too small for the run; then it grows, and the run is resumed."""
        room = rng.randrange(1, 100)
        disk = place / "disk"
        disk.mkdir()
        mounted = _mount(disk, f"size={room}m")
        sabotage = None if mounted else Sabotage(folder=disk, largest_file=room * 2**20 // 3)
        detail.append(f"{room} MB" if mounted else f"files of {room / 3:.1f} MB")
        self._note("full_disks_tmpfs" if mounted else "full_disks_file_limit")
        try:
            command = self._start(self._train_words(disk), sabotage)
            if fault := command.fault([0, 1, 2]):
                return fault
            if command.wait() and not any(
                word in command.text() for word in ("o space left", "cannot be written")
            ):
                return f"not told about the disk: {command.text().strip()[-300:]}"
            detail.append(command.text().strip().splitlines()[-1][-160:])
            if mounted:
                _mount(disk, "remount,size=1g")
            return self._taken_up(disk / _RUN, detail)
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(disk)], check=True)

    def _predict(self, kind: str, rng: Random, place: Path, detail: list[str]) -> str:
        sources, whole, size = self._predicted()
        out = place / "out"
        words = self._predict_words(sources, out)
        if lost := self._disturb(
            words, out, _any_kind(rng, detail, checkpoints=False), rng, detail, size
        ):
            return lost
        for name, content in _files(out).items():
            if not _hidden(name) and content != whole.get(name):
                return f"half-written: {name}"
        if fault := self._start(words).fault([0]):
            return f"again: {fault}"
        return _different(whole, _files(out))

    def _predict_words(self, sources: Path, out: Path) -> list[str]:
        model = self.work / "whole" / _RUN
        options = ("--masks", "--npz", "--coco", "--jsonl")
        words = [word for option in options for word in (option, "true")]
        return [
            "predict",
            str(sources),
            "--out",
            str(out),
            "--checkpoint",
            str(model),
            "--device",
            "cpu",
            *words,
        ]

    def _predicted(self) -> tuple[Path, dict[str, str], tuple[float, int]]:
        """Videos, the outputs of an undisturbed prediction, its seconds and file operations."""
        if not hasattr(self, "_prediction"):
            sources, out = self.work / "videos", self.work / "predicted"
            sources.mkdir()
            for number in range(2):
                noise = np.random.default_rng(number)
                frames = noise.integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
                sound = noise.normal(0, 0.1, (1, 16_000 * 2)).astype(np.float32)
                write_video(sources / f"{number}.mp4", frames, 15, sound, 16_000)
            size = self._measured(self._predict_words(sources, out))
            self._prediction = sources, _files(out), size
        return self._prediction

    def _vae(self, kind: str, rng: Random, place: Path, detail: list[str]) -> str:
        whole, size = self._vae_trained()
        out = place / "vae"
        words = self._vae_words(out)
        if lost := self._disturb(
            words, out, _any_kind(rng, detail, checkpoints=True), rng, detail, size
        ):
            return lost
        if broken := _half_written(out):
            return f"half-written: {broken}"
        resumable = (out / "last.pt").exists() or (out / "previous.pt").exists()
        command = self._start(["vae", "train", "--out", str(out), "--resume"])
        if fault := command.fault([0 if resumable else 2]):
            return f"resuming: {fault}"
        if not resumable:
            if "nothing to resume" not in command.text():
                return f"resuming: {command.text()[-200:]}"
            detail.append("nothing to resume")
            self._note("nothing_to_resume")
            if fault := self._start(words).fault([0]):
                return f"a new run: {fault}"
        else:
            self._note("resumed")
        if left := _leftovers(place):
            return f"left over: {left}"
        return _different(whole, _vae_files(out))

    def _vae_words(self, out: Path) -> list[str]:
        settings = [word for name, value in _VAE.items() for word in (f"--{name}", str(value))]
        return ["vae", "train", "--out", str(out), *settings]

    def _vae_trained(self) -> tuple[dict[str, str], tuple[float, int]]:
        """What an undisturbed training leaves, its seconds and file operations."""
        if not hasattr(self, "_vae_whole"):
            size = self._measured(self._vae_words(self.work / "vae"))
            self._vae_whole = _vae_files(self.work / "vae"), size
        return self._vae_whole

    def _note(self, name: str, count: bool = True) -> None:
        self.done[name] = self.done.get(name, 0) + count


def _any_kind(rng: Random, detail: list[str], checkpoints: bool) -> str:
    """How a command other than `train` is disturbed."""
    kinds = [kind for kind in _KINDS[:6] if checkpoints or "checkpoint" not in kind]
    kind = rng.choice(kinds)
    detail.append(kind.removeprefix("train: "))
    return kind


def _trained(run: Path) -> dict[str, str]:
    """Name -> hash of everything in which two runs must agree."""
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    rows = read_history(run / "history.jsonl")
    metadata = json.loads((run / "best" / "metadata.json").read_text())
    return {
        **{f"weight {name}": _hash(value) for name, value in saved["state_dict"].items()},
        **{
            f"optimiser {number} {name}": _hash(value)
            for number, each in saved["optimizer_states"][0]["state"].items()
            for name, value in each.items()
        },
        **{f"history {number}": json.dumps(row, sort_keys=True) for number, row in enumerate(rows)},
        **{
            f"best {name}": _hash(value)
            for name, value in read_weight_file(run / "best" / "model.safetensors").items()
        },
        **{f"best {name}": str(metadata[name]) for name in ("epoch", "step", "val/miou")},
    }


def _vae_files(run: Path) -> dict[str, str]:
    history = (run / "history.json").read_text()
    return {"history": history} | {
        f"weight {name}": _hash(value)
        for name, value in read_weight_file(run / "model.safetensors").items()
    }


def _files(folder: Path) -> dict[str, str]:
    """Hashes of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _hash(value: torch.Tensor) -> str:
    return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()


def _different(whole: Mapping[str, str], made: Mapping[str, str]) -> str:
    names = [name for name in [*whole, *made] if whole.get(name) != made.get(name)]
    return (
        f"{len(names)} of {len(whole)} differ from the undisturbed run, first {names[0]}"
        if names
        else ""
    )


def _half_written(run: Path) -> str:
    """The first file under its final name that cannot be read; a history may end in an unfinished line."""
    readers = {
        ".ckpt": lambda path: torch.load(path, weights_only=True),
        ".pt": lambda path: torch.load(path, weights_only=True),
        ".safetensors": read_weight_file,
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": read_history,
        ".png": lambda path: Image.open(path).load(),
    }
    for path in sorted(run.rglob("*")):
        if path.suffix in readers and not _hidden(str(path.relative_to(run))):
            try:
                readers[path.suffix](path)
            except Exception as error:  # whatever it is, the file is not whole
                return f"{path.name} ({type(error).__name__}: {error})"
    best = run / "best"
    missing = [
        name
        for name in ("config.yaml", "metadata.json", "model.safetensors")
        if not (best / name).exists()
    ]
    return f"best/ without {missing}" if best.exists() and missing else ""


def _leftovers(folder: Path) -> str:
    return ", ".join(
        sorted(
            name for name in map(str, folder.rglob("*")) if _hidden(name.removeprefix(str(folder)))
        )
    )


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def _mount(folder: Path, options: str) -> bool:
    """Mount a file system in memory, or change its size; False where only root may."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
