"""Hostile command lines: every command and every option, with values that do not belong there.

The commands, their options and types are read from the functions behind the command line, so new options are included
automatically. Values are numbers of the wrong type or size, NaN, names of 300 letters, paths below a file and in /proc,
pipes and endless devices, terminal escapes, broken YAML, and lists with null characters. A command must end within 30
seconds of CPU time with exit code 0 or 2, without a traceback, and no escape sequence may reach the terminal. Each runs
in a child of a process that has imported the command line's own modules only; a command that needs PyTorch or another
heavy library is started again in a child of a process that has imported them.
"""

from __future__ import annotations

import inspect
import os
import random
import shutil
import socket
import typing
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args, get_origin

import yaml

from campaigns.base import Campaign, Trial
from campaigns.containers import SEEDS
from campaigns.files import MEMORY_MB, PRELOAD, TINY, TINY_VAE
from campaigns.hostile import LAUGHS
from campaigns.worker import NEEDS_HEAVY, Worker
from ecmvae.cli import COMMANDS
from ecmvae.config import Config, ConfigFiles
from ecmvae.config_reader import by_dotted_name

SOUND: Mapping[str, tuple[str, ...]] = {
    "demo": ("--data", "synthetic", "--minutes", "0.01", "--clips", "2", "--out", "full"),
    "predict": ("clip.webm", "--fps", "1", "--out", "out.mp4"),
    "manifest": ("manifest.jsonl",),
    "app": ("--port", "PORT"),
    "train": ("--config", "tiny.yaml"),
    "train-audio": ("--data", "synthetic", "--steps", "1", "--out", "heard"),
    "evaluate": ("--predictions", "data", "--data", "data", "--out", "report"),
    "export": ("--format", "safetensors", "--out", "model.safetensors"),
    "models": (),
    "data pack": ("data", "--out", "packed"),
    "data check": ("data",),
    "check-data": ("data",),
    "vae train": ("--config", "vae.yaml", "--out", "vae"),
    "vae sample": ("vae_run", "--count", "2"),
    "vae traverse": ("vae_run", "--steps", "2"),
    "vae score": ("vae_run", "--limit", "2", "--num_samples", "2"),
}
"""Command -> words that end it soon if nothing is wrong with the others: most ask for what is not there."""

NUMBERS = (
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    str(2**70),
    str(-(2**70)),
    "1e-320",
    "0x10",
    "1_0",
)
WORDS = (
    *("", "many", "[", "[1, null]", "{a: b}", "- -", "!!python/object/apply:os.system [true]"),
    *(
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "&a [*a]",
        "'",
        "null",
        "猫\u202etxt",
        os.fsdecode(b"caf\xe9"),
        "-",
    ),
    *("%s%n", "~"),
)
PATHS = (
    *(
        "x" * 260,
        "x" * 300 + ".mp4",
        "clip.webm/inner",
        "clip.webm",
        "/proc/nowhere/x",
        "/dev/null/x",
        "pipe",
    ),
    *(
        "/dev/zero",
        ".",
        "",
        "/",
        "nothing",
        "full",
        "nul.txt",
        "\x1b[31mred.mp4",
        os.fsdecode(b"caf\xe9.mp4"),
    ),
    *(
        "two\nlines",
        "/dev/full",
        "hf://",
        "hf://../..",
        "[a, b]",
        "nothing.onnx",
        "clip.webm.onnx",
        "a:b",
        "os:system",
    ),
)
FILES = ("pipe", "/dev/zero", "laughs.yaml", "long.yaml", "deep.yaml", "nul.yaml", "clip.webm", "full", "nothing.yaml",
         "x" * 300, "\x1b[31mred.yaml", "tag.yaml", "huge.yaml", "self.yaml", "")  # fmt: skip
"""Values of ``--config``."""
REFUSED_PATHS = (
    "x" * 300,
    "clip.webm/inner",
    "clip.webm",
    "/proc/nowhere/x",
    "/dev/null/x",
    "pipe",
    ".",
    "full",
)
"""Values of ``demo --out``, which goes to work for minutes where it may write."""


@dataclass(frozen=True)
class Option:
    """One thing to attack: a command's option, or the words without a dash that it takes (no option).

    Attributes:
        command: One word or two.
        option: Its name with dashes, or empty.
        kind: number, switch, choice, path, list or config.
    """

    command: str
    option: str
    kind: str


def options() -> list[Option]:
    """Every option of every command, read from the functions behind them."""
    found = []
    for name, (target, _) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        what = getattr(import_module(module), attribute)
        functions = (
            {f"{name} {sub}": each for sub, each in what.items()}
            if isinstance(what, Mapping)
            else {name: what}
        )
        for command, function in functions.items():
            hints = typing.get_type_hints(function)
            if not hints.keys() - {"return"}:
                found.append(Option(command, "--nothing", "path"))
            for parameter in inspect.signature(function).parameters.values():
                hint = hints[parameter.name]
                if hint is ConfigFiles:
                    found.append(Option(command, "--config", "config"))
                elif hint is Config:
                    knobs = by_dotted_name(Config().to_dict())
                    found += [
                        Option(command, f"--{knob}", _kind_of_value(value))
                        for knob, value in knobs.items()
                    ]
                else:
                    dashes = "" if parameter.default is parameter.empty else f"--{parameter.name}"
                    found.append(Option(command, dashes, _kind_of_hint(hint)))
    return found


def _kind_of_hint(hint: Any) -> str:
    hints = {hint, *get_args(hint)} if get_origin(hint) is not typing.Literal else {hint}
    if any(get_origin(each) is typing.Literal for each in hints):
        return "choice"
    if any(get_origin(each) is list for each in hints):
        return "list"
    if bool in hints:
        return "switch"
    return "number" if hints & {int, float} else "path"


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "switch"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list | dict) else "path"


def values(option: Option) -> Sequence[str]:
    """The hostile values of an option."""
    if option.command == "demo" and option.option == "--out":
        return REFUSED_PATHS
    return {
        "number": (*NUMBERS, *WORDS[:6], *WORDS[7:9]),
        "switch": ("maybe", "2", *WORDS[:8]),
        "choice": (*WORDS, *NUMBERS[:4], "x" * 5000),
        "path": (*PATHS, *WORDS, "nan"),
        "list": (*WORDS, *PATHS, f"[{'[' * 3000}", f"[{', '.join(['1'] * 20_000)}]", "[a, [b]]"),
        "config": FILES,
    }[option.kind]


class CommandLines(Campaign):
    """See the module.

    Args:
        work: As of every campaign.
        seed: Likewise.
        light: Do not go on with commands that ask for a heavy library: they have survived.
    """

    runs = 250
    quick = 12

    def __init__(self, work: Path, seed: int, light: bool = False) -> None:
        super().__init__(work, seed)
        self._light_only = light
        self._stack = ExitStack()
        self._options = options()
        self._refused_early = self._refused = 0

    def __enter__(self) -> Self:
        self._home = self.work / "home"
        self._home.mkdir()
        _fill(self._home)
        self._socket = self._stack.enter_context(socket.socket())
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        env = {
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": str(self.work / "cache"),
            "HOME": str(self.work),
        }
        self._light = self._stack.enter_context(
            Worker("campaigns.worker:run_lightly", self.work, preload=("ecmvae.cli", "ecmvae.arguments"), forks=True,
                   memory_limit_mb=MEMORY_MB, env=env)
        )  # fmt: skip
        if not self._light_only:
            (self.work / "heavy").mkdir()
            self._heavy = self._stack.enter_context(
                Worker("campaigns.worker:run_command", self.work / "heavy", preload=PRELOAD, forks=True,
                       memory_limit_mb=MEMORY_MB, env=env)
            )  # fmt: skip
            self._heavy(
                ["vae", "train", "--config", "vae.yaml", "--out", "vae_run"], cwd=self._home
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def words(self, rng: random.Random) -> list[str]:
        """One hostile command line."""
        by_command: dict[str, list[Option]] = {}
        for option in self._options:
            by_command.setdefault(option.command, []).append(option)
        chosen = rng.choice(by_command[rng.choice(list(by_command))])
        sound = [
            str(self._socket.getsockname()[1]) if word == "PORT" else word
            for word in SOUND.get(chosen.command, ())
        ]
        value = rng.choice(values(chosen))
        if chosen.option:
            given = [f"{chosen.option}={value}"] if rng.random() < 0.5 else [chosen.option, value]
            if rng.random() < 0.05:
                given = rng.choice(([chosen.option], [f"{chosen.option}x", value], given * 50))
            return [*chosen.command.split(), *sound, *given]
        return [*chosen.command.split(), value, *[word for word in sound if sound.index(word) > 0]]

    def trial(self, index: int) -> Trial:
        """Run one hostile command line."""
        words = self.words(self.rng(index))
        folder = self.work / "attack"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._home, folder, copy_function=_copied)
        answer = self._light(words, cwd=folder)
        early = answer.code != NEEDS_HEAVY
        if not early and not self._light_only:
            answer = self._heavy(words, cwd=folder)
        if answer.code == 2:
            self._refused += 1
            self._refused_early += early
        lost = answer.fault((0, 2) if early or not self._light_only else (0, 2, NEEDS_HEAVY))
        if not lost and any(each in answer.err for each in ("\x1b", "\x07", "\x9b", "\u202e")):
            lost = "an escape sequence reached the terminal"
        if (
            not lost
            and answer.code == 2
            and "error: " not in answer.err
            and words[0] not in ("check-data", "data")
        ):
            lost = f"exit code 2 without a line that says why: {answer.err[-200:]}"
        shown = [
            word if len(word) < 60 else f"{word[:30]}... ({len(word)} letters)" for word in words
        ]
        command = " ".join(words[: 2 if words[0] in ("data", "vae") else 1])
        return Trial(
            command, lost, ascii(" ".join(shown)), answer.megabytes or None, answer.cpu_seconds
        )

    def figures(self) -> Mapping[str, float | int | str]:
        """How many were refused, and how many of these before a heavy library was imported."""
        return {
            "options": len(self._options),
            "refused": self._refused,
            "before_heavy_imports": self._refused_early,
        }


def _fill(home: Path) -> None:
    """What the command lines name: sound files, and hostile ones."""
    SEEDS["vp8.webm"].write(home / "clip.webm")
    os.mkfifo(home / "pipe")
    for folder in ("full", "data"):
        (home / folder).mkdir()
    (home / "full" / "mine.txt").write_text("keep this", encoding="utf-8")
    (home / "manifest.jsonl").write_text("", encoding="utf-8")
    settings = {
        "tiny.yaml": yaml.safe_dump(dict(TINY)),
        "vae.yaml": yaml.safe_dump(dict(TINY_VAE)),
        "laughs.yaml": LAUGHS + "train: {epochs: *i}\n",
        "long.yaml": f"train: {{epochs: [{', '.join(['1'] * 100_000)}]}}",
        "deep.yaml": "train: " + "[" * 20_000,
        "nul.yaml": 'train: {name: "a\\0b"}',
        "nul.txt": "a\0b.mp4\n",
        "tag.yaml": "!!python/object/apply:os.system ['touch executed']",
        "huge.yaml": f"train: {{epochs: {'9' * 5000}}}",
        "self.yaml": "base: self.yaml",
    }
    for name, text in settings.items():
        (home / name).write_text(text, encoding="utf-8")


def _copied(source: str, target: str) -> None:
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target)
