"""Measure models without training: what a second call costs beside the first, and memory against length.

    python tools/measure_concepts.py second                  # AST and CLIPSeg at their released shapes
    python tools/measure_concepts.py memory                  # 1 and 10 minutes of 1280x720, four key frames a second

The weights are random, since only time and memory are measured: `second` has the layers of the released networks (237
million parameters), `memory` has tiny layers behind inputs and kept answers of the true sizes. Videos are generated: a
square that moves over noise and is nowhere twice, with a burst of tone every two seconds. Every call of `ecmvae
predict` is a process of its own; the cache begins empty.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecmvae.data.video import VideoWriter
from ecmvae.foundation.names import read_table

RATE = 16_000
WORDS = ("dog", "guitar", "rain", "siren", "speech")


@dataclass(frozen=True)
class Called:
    """What one call took."""

    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float


def make_video(path: Path, *, seconds: int, width: int, height: int, fps: int) -> Path:
    """Write a video of which no two frames are the same."""
    noise = np.random.default_rng(0).integers(
        0, 160, (height // 8 + 1, width // 8 + 1, 3), np.uint8
    )
    scene = noise.repeat(8, 0).repeat(8, 1)[:height, :width]
    clock = np.arange(seconds * RATE) / RATE
    pitch = 300 + clock  # so that no two bursts are the same, either
    sound = (0.5 * np.sin(2 * np.pi * pitch * clock) * (clock % 2 > 1)).astype(np.float32)
    side, count = height // 4, seconds * fps
    with VideoWriter(
        path, width=width, height=height, fps=fps, waveform=sound, sample_rate=RATE
    ) as writer:
        for index in range(count):
            frame = scene.copy()
            left = (7 * index) % (width - side)
            top = (height - side) * index // count
            frame[top : top + side, left : left + side] = (255, index % 256, index // 256 % 256)
            writer.write(frame)
    return path


def save_networks(folder: Path, *, tiny: bool) -> str:
    """Write an AST and a CLIPSeg of random weights as folders of the hub; the name that `--checkpoint` takes."""
    import torch
    from transformers import (
        ASTConfig,
        ASTForAudioClassification,
        CLIPSegConfig,
        CLIPSegForImageSegmentation,
    )

    torch.manual_seed(0)
    names = [row.name for row in read_table()]
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 16,
    }
    labels = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: k for k, name in enumerate(names)},
    }
    ast = ASTConfig(**(small if tiny else {}), **labels)
    ASTForAudioClassification(ast).save_pretrained(folder / "ast")
    (folder / "ast" / "preprocessor_config.json").write_text("{}")
    vision = {
        "image_size": 352 if tiny else 224,
        "patch_size": 16,
        **(small | {"num_hidden_layers": 3} if tiny else {}),
    }
    few = (
        {"extract_layers": [0, 1, 2], "projection_dim": 16, "decoder_intermediate_size": 64}
        if tiny
        else {}
    )
    network = CLIPSegForImageSegmentation(
        CLIPSegConfig(
            text_config=small if tiny else {},
            vision_config=vision,
            use_complex_transposed_convolution=True,
            **few,
        )
    )
    network.save_pretrained(folder / "clipseg")
    (folder / "clipseg" / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 352, "width": 352}})
    )
    _save_tokenizer(folder / "clipseg", network.config.text_config)
    return f"concepts:ast={folder / 'ast'}+clipseg={folder / 'clipseg'}"


def _save_tokenizer(folder: Path, config: object) -> None:
    """One number a word, between the numbers that the text network takes for begin and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    begin, end = (int(getattr(config, name)) for name in ("bos_token_id", "eos_token_id"))
    words = {
        "<s>": begin,
        "</s>": end,
        "<unk>": 10,
        **{word: 11 + k for k, word in enumerate(WORDS)},
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", begin), ("</s>", end)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)


def call(words: Sequence[str], folder: Path) -> Called:
    """Run `ecmvae predict` in a process of its own, with the cache in this folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "ECMVAE_OFFLINE": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, __file__, "one", "predict", *words, "--progress", "false", "--force"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"predict ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Called(cpu, time.monotonic() - started, float(done.stdout.splitlines()[-1]))


def one(words: Sequence[str]) -> int:
    """A call, which ends with its own peak memory in megabytes: VmHWM of Linux, without its children's."""
    from ecmvae.cli import main as ecmvae

    code = ecmvae(list(words))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1000)
    return code


def second(folder: Path, seconds: int, *, tiny: bool = False) -> Iterator[tuple[str, Called]]:
    """A first call, and second calls that change something."""
    video = make_video(folder / "video.mp4", seconds=seconds, width=640, height=360, fps=10)
    common = [
        str(video),
        "--checkpoint",
        save_networks(folder, tiny=tiny),
        "--out",
        str(folder / "out"),
    ]
    common += ["--fps", "1" if tiny else "4"]
    dog = ["--concepts", "dog, guitar, rain"]
    yield "first call", call([*common, *dog], folder)
    yield "another threshold", call([*common, *dog, "--threshold", "0.3"], folder)
    yield "other words", call([*common, "--concepts", "siren, speech"], folder)
    yield "without the cache", call([*common, *dog, "--cache", "false"], folder)


def memory(folder: Path, lengths: Sequence[int]) -> Iterator[tuple[str, Called]]:
    """Videos of several lengths, in seconds."""
    name = save_networks(folder, tiny=True)
    for seconds in lengths:
        video = make_video(folder / "video.mp4", seconds=seconds, width=1280, height=720, fps=4)
        words = [
            str(video),
            "--checkpoint",
            name,
            "--concepts",
            "dog",
            "--fps",
            "4",
            "--out",
            str(folder / "out"),
        ]
        words += ["--overlay", "false", "--activity"]
        yield f"{seconds} s", call(words, folder)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] == "one":
        return one(words[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["second", "memory"])
    parser.add_argument(
        "--seconds", type=int, nargs="+", help="of the videos; second: 10, memory: 60 600"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="second: tiny layers, to see that it runs"
    )
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder, first = Path(name), None
        if options.what == "second":
            rows = second(folder, (options.seconds or [10])[0], tiny=options.tiny)
        else:
            rows = memory(folder, options.seconds or [60, 600])
        what = "memory of the first" if options.what == "memory" else "of the first"
        print(
            f"| call | CPU seconds | {what} | wall seconds | peak memory |\n|---|---|---|---|---|",
            flush=True,
        )
        for label, found in rows:
            first = first or found
            measured = (
                found.peak_megabytes / first.peak_megabytes if options.what == "memory" else 0
            )
            share = measured or found.cpu_seconds / first.cpu_seconds
            print(
                f"| {label} | {found.cpu_seconds:.1f} | {share:.3f} | {found.wall_seconds:.1f} "
                f"| {found.peak_megabytes:.0f} MB |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
