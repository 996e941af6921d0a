"""Hostile files wherever ecmvae reads files of strangers: none may run code, hang or use up the memory.

Weights, model folders and their cards, checkpoints to resume from, settings, tables, metadata, ONNX models, pickled
log-mel patches, packed data, lists and manifests are damaged byte by byte, replaced by unrelated text, or changed on
purpose: a value of the wrong type, a tensor of another shape, a false header, a pickle that would create a file. Each
is then read by the command that users would read it with, in a child of a process that has PyTorch loaded; the memory
figures include PyTorch.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from campaigns.base import Campaign, Trial
from campaigns.containers import MUTATIONS, SEEDS
from campaigns.hostile import (
    TEXTS,
    changed,
    log_mel,
    onnx_model,
    payload,
    safetensors,
    stored,
)
from campaigns.worker import Worker

PRELOAD = ("torch", "lightning.pytorch", "onnxruntime", "ecmvae.training.run", "ecmvae.training.vae",
           "ecmvae.training.audio", "ecmvae.prediction.torch_engine", "ecmvae.prediction.run",
           "ecmvae.evaluation.evaluate_run", "ecmvae.data.check", "ecmvae.data.packing")  # fmt: skip
"""What most commands need, so that a child has it already."""
MEMORY_MB = 10_000
"""Address space of a command; PyTorch alone takes 4 GB of it."""
_LARGEST = 1500
"""Peak memory of a command, in MB, above which an attack counts as lost."""

TINY: Mapping[str, Any] = {
    "model": {
        "visual": {"name": "efficientnet_lite0", "frozen": True, "weights": None},
        "audio": {"name": "vggish_small", "frozen": False},
        "latent": {"dim": 2}, "fusion": {"kind": "gate"}, "channels": 8,
    },
    "data": {"name": "synthetic", "image_size": 32, "length": 2, "val_length": 1, "num_frames": 2, "hop_seconds": 1.0,
             "workers": 0},
    "train": {"name": "run", "out": ".", "epochs": 1, "batch_size": 2, "loggers": [], "log_images": 0, "device": "cpu"},
}  # fmt: skip
"""A training run of a second."""
TINY_VAE: Mapping[str, Any] = {
    "model": {"name": "vae", "latent_dim": 2, "hidden": 8},
    "data": {"name": "digits", "validation": 20, "limit": 64},
    "fit": {"epochs": 1, "device": "cpu"},
}

ONNX_MODEL: Mapping[str, Any] = {
    "image_size": 32, "num_frames": 5, "class_names": [], "front_end": "vggish",
    "normalisation": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A file that a command reads.

    Attributes:
        file: Below the folder of the attack.
        words: The command that reads it.
        kind: Of its content: text, yaml, json, csv, torch, weights, safetensors, onnx or log-mel.
    """

    file: str
    words: tuple[str, ...]
    kind: str


_EXPORT = (
    "export",
    "--checkpoint",
    "run-001",
    "--format",
    "safetensors",
    "--out",
    "out.safetensors",
)
_TRAIN = ("train", "--config", "tiny.yaml")
_ON_DATA = (*_TRAIN, "--data.name", "s4", "--data.root", "data", "--data.num_frames", "5")
_PREDICT = ("predict", "clip.webm", "--fps", "1", "--out", "out.mp4", "--force")
_DATA = "data/Single-source"

TARGETS: Mapping[str, Target] = {
    "visual weights": Target("weights.pth", (*_TRAIN, "--model.visual.weights", "weights.pth"), "weights"),
    "audio weights": Target("weights.pt", (*_TRAIN, "--model.audio.weights", "weights.pt"), "weights"),
    "safetensors weights": Target(
        "w.safetensors", (*_TRAIN, "--model.audio.weights", "w.safetensors"), "safetensors"
    ),
    "model weights": Target("run-001/best/model.safetensors", _EXPORT, "safetensors"),
    "model configuration": Target("run-001/best/config.yaml", _EXPORT, "yaml"),
    "model configuration, started from": Target(
        "run-001/best/config.yaml", (*_TRAIN, "--train.initial_checkpoint", "run-001"), "yaml"
    ),
    "metadata.json": Target("run-001/best/metadata.json", (*_PREDICT, "--checkpoint", "run-001"), "json"),
    "card": Target("run-001/best/README.md", ("models", "--card", "run-001"), "card"),
    "last.ckpt": Target("run-001/checkpoints/last.ckpt", ("train", "--resume", "run-001"), "torch"),
    "configuration of a run": Target("run-001/config.yaml", ("train", "--resume", "run-001"), "yaml"),
    "last.pt": Target("vae/last.pt", ("vae", "train", "--out", "vae", "--resume"), "torch"),
    "weights of a VAE": Target("vae/model.safetensors", ("vae", "sample", "vae", "--count", "2"), "safetensors"),
    "configuration of a VAE": Target("vae/config.yaml", ("vae", "score", "vae", "--limit", "2"), "yaml"),
    "settings": Target("tiny.yaml", _TRAIN, "yaml"),
    "settings of a VAE": Target("vae.yaml", ("vae", "train", "--config", "vae.yaml", "--out", "new"), "yaml"),
    "table, checked": Target(f"{_DATA}/s4_meta_data.csv", ("check-data", "data"), "csv"),
    "table, packed": Target(f"{_DATA}/s4_meta_data.csv", ("data", "pack", "data", "--out", "new"), "csv"),
    "clips.json": Target(f"{_DATA}/clips.json", _ON_DATA, "json"),
    "log-mel patches": Target(f"{_DATA}/LOG_MEL", (*_ON_DATA, "--data.hop_seconds", "0.96"), "log-mel"),
    "log-mel patches, checked": Target(f"{_DATA}/LOG_MEL", ("data", "check", "data"), "log-mel"),
    "picture": Target(f"{_DATA}/PICTURE", ("check-data", "data"), "bytes"),
    "packed index": Target("packed/packed.json", ("data", "check", "packed"), "json"),
    "packed clips": Target("packed/train-00000.safetensors", ("data", "check", "packed"), "safetensors"),
    "packed clips, trained on": Target(
        "packed/train-00000.safetensors", (*_TRAIN, "--data.name", "packed", "--data.root", "packed",
        "--data.num_frames", "5"), "bytes"
    ),
    "ONNX model": Target("model.onnx", (*_PREDICT, "--checkpoint", "model.onnx"), "onnx"),
    "list of videos": Target("list.txt", ("predict", "list.txt", "--fps", "1", "--out", "outs"), "text"),
    "manifest": Target("manifest.jsonl", ("manifest", "manifest.jsonl"), "jsonl"),
    "manifest, continued": Target(
        "manifest.jsonl", ("predict", "clip.webm", "--fps", "1", "--out", "outs", "--manifest", "manifest.jsonl"),
        "jsonl"
    ),
}  # fmt: skip

LIGHT = ("card", "ONNX model", "list of videos", "manifest", "manifest, continued")
"""Targets whose commands do without PyTorch."""


class Files(Campaign):
    """See the module.

    Args:
        work: As of every campaign.
        seed: Likewise.
        light: Attack only what is read without PyTorch.
    """

    runs = 300
    quick = 12

    def __init__(self, work: Path, seed: int, light: bool = False) -> None:
        super().__init__(work, seed)
        self._stack = ExitStack()
        self._light = light
        self._targets = {name: TARGETS[name] for name in LIGHT} if light else TARGETS
        self._places: dict[str, str] = {}
        self._executed = 0
        self._tracebacks = 0

    def __enter__(self) -> Self:
        self._home = self.work / "home"
        self._home.mkdir()
        self._worker = self._stack.enter_context(
            Worker(
                "campaigns.worker:run_command", self.work, memory_limit_mb=MEMORY_MB, forks=True,
                preload=("ecmvae.prediction.run", "onnxruntime") if self._light else PRELOAD,
                env={"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(self.work / "cache")},
            )
        )  # fmt: skip
        self._make_home()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def trial(self, index: int) -> Trial:
        """Replace or damage one file and run the command that reads it."""
        rng = self.rng(index)
        name = rng.choice(list(self._targets))
        target = self._targets[name]
        folder, marker = self.work / "attack", self.work / "executed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._home, folder, copy_function=_linked, symlinks=True)
        path = folder / self._places.get(target.file, target.file)
        content, done = _CONTENTS[target.kind](
            path.read_bytes() if path.is_file() else b"", marker, rng
        )
        path.unlink(missing_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
        answer = self._worker(target.words, cwd=folder)
        lost = answer.fault()
        self._tracebacks += "traceback" in lost
        if marker.exists() or (folder / "executed").exists():
            lost = "code of the file was executed"
            self._executed += 1
            marker.unlink(missing_ok=True)
        if not lost and "\x1b" in answer.err:
            lost = "an escape sequence reached the terminal"
        if not lost and answer.megabytes > _LARGEST:
            lost = f"{answer.megabytes:.0f} MB"
        detail = f"{' '.join(target.words)}: {done}"
        return Trial(name, lost, detail, answer.megabytes or None, answer.cpu_seconds)

    def figures(self) -> Mapping[str, float | int | str]:
        """How many files had their code executed, and how many ended a command with a traceback."""
        return {"executed": self._executed, "tracebacks": self._tracebacks}

    def _make_home(self) -> None:
        """Make one sound file of every kind, with ecmvae's own commands."""
        home = self._home
        SEEDS["vp8.webm"].write(home / "clip.webm")
        (home / "list.txt").write_text("clip.webm\n", encoding="utf-8")
        (home / "model.onnx").write_bytes(
            onnx_model(
                {"ecmvae.model": json.dumps(dict(ONNX_MODEL))}, random.Random(0), honest=True
            )
        )
        self._run(
            ("predict", "clip.webm", "--fps", "1", "--out", "outs", "--manifest", "manifest.jsonl")
        )
        shutil.rmtree(home / "outs")
        if self._light:
            (home / "run-001" / "best").mkdir(parents=True)
            for name in ("config.yaml", "model.safetensors"):
                (home / "run-001" / "best" / name).touch()
        else:
            self._make_heavy_files()
        (home / "run-001" / "best" / "README.md").write_text("# A card\n", encoding="utf-8")

    def _make_heavy_files(self) -> None:
        from ecmvae.data.miniature import ShapeScenes, write_miniature

        home = self._home
        (home / "tiny.yaml").write_text(yaml.safe_dump(dict(TINY)), encoding="utf-8")
        (home / "vae.yaml").write_text(yaml.safe_dump(dict(TINY_VAE)), encoding="utf-8")
        counts = {"train": 1, "val": 1, "test": 1}
        write_miniature(home / "data", "s4", counts, source=ShapeScenes("s4", 32), composed=True)
        self._run(_TRAIN)
        self._run(("vae", "train", "--config", "vae.yaml", "--out", "vae"))
        self._run(
            ("data", "pack", "data", "--out", "packed", "--image_size", "32", "--workers", "1")
        )
        for name, pattern in (("LOG_MEL", "*.pkl"), ("PICTURE", "*.png")):
            self._places[f"{_DATA}/{name}"] = str(
                sorted((home / _DATA).rglob(pattern))[0].relative_to(home)
            )

    def _run(self, words: tuple[str, ...]) -> None:
        answer = self._worker(words, cwd=self._home)
        if answer.code != 0:
            raise RuntimeError(f"{' '.join(words)}: exit code {answer.code}: {answer.err[-500:]}")


def _linked(source: str, target: str) -> None:
    """Large files are linked: no command writes into one, and the attack replaces its own."""
    if os.path.getsize(source) > 100_000:  # noqa: PTH202
        os.link(source, target)
    else:
        shutil.copy2(source, target)


Content = bytes | Path
Make = Callable[[bytes, Path, random.Random], tuple[Content, str]]


def _bytes(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    name = rng.choice(list(MUTATIONS))
    return MUTATIONS[name](data or b"x" * 64, rng), name


def _text(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.3:
        return _bytes(data, marker, rng)
    text = rng.choice(TEXTS)
    return text, f"text {text[:30]!r}"


def _tree(load: Callable[[bytes], Any], dump: Callable[[Any], bytes]) -> Make:
    """Files of nested values: mostly a part of the value is changed."""

    def make(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
        if rng.random() < 0.25:
            return _text(data, marker, rng)
        value, done = changed(load(data), rng, rng.choice((1, 1, 2)))
        return dump(value), done

    return make


def _csv(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.3:
        return _text(data, marker, rng)
    lines = [line.split(",") for line in data.decode().splitlines()]
    row = rng.randrange(len(lines))
    value = rng.choice(
        (
            "",
            "../../x",
            "/etc",
            "x" * 5000,
            "a\0b",
            '"',
            "\x1b[31m",
            "a/b",
            ".",
            "\u202e",
            "\ud7ff" * 90,
        )
    )
    lines[row][rng.randrange(len(lines[row]))] = value
    return "\n".join(",".join(line) for line in lines).encode(), f"row {row}: {value[:20]!r}"


def _json_lines(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.4:
        return _text(data, marker, rng)
    lines = data.splitlines()
    row = rng.randrange(len(lines))
    value, done = changed(json.loads(lines[row]), rng)
    lines[row] = json.dumps(value).encode()
    return b"\n".join(lines), f"line {row}: {done}"


def _pickled(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.6 or not data:
        return payload(marker, rng), "a pickle that creates a file"
    return _bytes(data, marker, rng)


def _torch(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    import io

    import torch

    if rng.random() < 0.3:
        return _pickled(data, marker, rng)
    value, done = changed(
        torch.load(io.BytesIO(data), weights_only=True), rng, rng.choice((1, 1, 2))
    )
    return stored(value), done


def _weights(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    import torch

    if rng.random() < 0.5:
        return _pickled(data, marker, rng)
    state = {"features.0.weight": torch.zeros(3), "conv_stem.weight": torch.zeros(2, 3)}
    value, done = changed(rng.choice((state, {"state_dict": state}, {"model": state})), rng)
    return stored(value), done


def _safetensors(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.5 or not data:
        return safetensors(rng), "a header that lies"
    return _pickled(data, marker, rng) if rng.random() < 0.4 else _bytes(data, marker, rng)


def _log_mel(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.4:
        return _pickled(data, marker, rng)
    return log_mel(rng), "odd patches"


def _onnx(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.2:
        return _bytes(data, marker, rng)
    description, done = changed({**ONNX_MODEL}, rng)
    text = (
        json.dumps(description)
        if rng.random() < 0.8
        else rng.choice(TEXTS).decode("utf-8", errors="replace")[: 10**5]
    )
    key = rng.choice(("ecmvae.model", "ecmvae.model", "ecmvae.config"))
    return onnx_model({key: text}, rng), f"{key}: {done}"


def _card(data: bytes, marker: Path, rng: random.Random) -> tuple[Content, str]:
    if rng.random() < 0.3:
        return rng.choice(
            (Path("/etc/passwd"), Path("/dev/zero"), Path("../../clip.webm"), Path("README.md"))
        ), "a link"
    return _text(data, marker, rng)


_CONTENTS: Mapping[str, Make] = {
    "bytes": _bytes,
    "text": _text,
    "csv": _csv,
    "json": _tree(json.loads, lambda value: json.dumps(value).encode()),
    "jsonl": _json_lines,
    "yaml": _tree(yaml.safe_load, lambda value: yaml.safe_dump(value).encode()),
    "torch": _torch,
    "weights": _weights,
    "safetensors": _safetensors,
    "log-mel": _log_mel,
    "onnx": _onnx,
    "card": _card,
}
"""Kind of content -> what makes a hostile one from a sound one."""
