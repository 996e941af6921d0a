"""The command line: which command calls which function.

A function's parameters are the command's options and its docstring is the help (`ecmvae.arguments`). Signatures live in
modules that import nothing heavy, so that help and mistakes are answered at once.
Exit codes: 0 success; 2 a user's mistake, explained in one line; 1 another failure; 130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import difflib
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ecmvae.errors import UserError, process_rank
from ecmvae.files import show_path
from ecmvae.foreign_text import printable

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": (
        "ecmvae.demo_command:demo",
        "data, training, scores and an overlay video, in minutes on a CPU",
    ),
    "predict": ("ecmvae.prediction.command:predict", "cut the sounding objects out of videos"),
    "manifest": (
        "ecmvae.manifest_command:manifest",
        "summarise a run over many videos, all shards together",
    ),
    "app": ("ecmvae.serving.command:app", "segment videos in a browser, on this machine"),
    "train": ("ecmvae.training.command:train", "train a segmentation model"),
    "train-audio": (
        "ecmvae.training.command:train_audio",
        "train an audio encoder to classify sounds",
    ),
    "study": (
        "ecmvae.study.command:STUDY_COMMANDS",
        "train variants with several seeds, and compare them",
    ),
    "evaluate": ("ecmvae.evaluation.command:evaluate", "score a model by the published protocols"),
    "export": ("ecmvae.prediction.command:export", "write a model as ONNX"),
    "models": ("ecmvae.hub.command:models", "list the models that have names"),
    "fetch": (
        "ecmvae.hub.command:fetch_model",
        "download a foundation model, for use without a network",
    ),
    "configs": (
        "ecmvae.recipes_command:CONFIG_COMMANDS",
        "list, show or copy the recipes that --config takes by name",
    ),
    "convert": (
        "ecmvae.conversion_command:convert",
        "turn a released weight file into a model folder",
    ),
    "data": (
        "ecmvae.data.command:DATA_COMMANDS",
        "pack a data set for fast training, check it, or write a small one",
    ),
    "check-data": (
        "ecmvae.data.command:check_data",
        "report what is missing or wrong in a data folder",
    ),
    "doctor": ("ecmvae.doctor:doctor", "show versions, devices and what is installed"),
    "vae": (
        "ecmvae.training.vae_command:VAE_COMMANDS",
        "train and inspect autoencoders and VAEs",
    ),
}
"""Command -> (module:function, one line of help). A dictionary in place of the function holds sub-commands."""

_EXTRA_OF = {
    "onnxruntime": "onnx",
    **dict.fromkeys(
        ("torch", "torchvision", "torchaudio", "torchmetrics", "timm", "einops", "safetensors"),
        "torch",
    ),
    **dict.fromkeys(
        ("lightning", "matplotlib", "sklearn", "scipy", "tensorboard", "zstandard"), "train"
    ),
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
    "soundfile": "torch",
    "gradio": "app",
    "ray": "ray",
    "pyarrow": "parquet",
    "opentimelineio": "otio",
    "supervision": "supervision",
    **dict.fromkeys(("transformers", "tokenizers"), "foundation"),
}
"""Package -> the extra that brings it."""
_EXTRA_OF_COMMAND = {
    **dict.fromkeys(("demo", "train", "train-audio", "study", "vae"), "train"),
    "export": "export",
}
"""Command -> the extra that brings all that it needs, where that is more than one package."""

_WRONG_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
"""What the system says of a path that the user can replace by another."""

Function = Callable[..., Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; None takes them from the command line.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # Threads that wait must not spin: beside the processes that prepare clips, spinning makes a CPU run 4 times slower.
    # OpenMP reads this when torch is imported, hence here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # DDP would tell every run that it need not look for unused parameters; that depends on the weights of the losses.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"ecmvae: error: {_place()}{_one_line(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF:
            raise
        extra = _EXTRA_OF[package]
        if extra != "foundation":  # which no command needs for itself
            extra = _EXTRA_OF_COMMAND.get(words[0], extra)
        print(
            f"ecmvae: error: this needs {package}: pip install 'ecmvae[{extra}]'", file=sys.stderr
        )
        return 2
    except (OSError, FloatingPointError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return 141
        if isinstance(error, OSError) and error.errno in _WRONG_PATH:
            path = f"{show_path(Path(error.filename))}: " if isinstance(error.filename, str) else ""
            line = _one_line(f"{path}{error.strerror}: name another path")
            print(f"ecmvae: error: {_place()}{line}", file=sys.stderr)
            return 2
        print(
            f"ecmvae: failed: {_place()}{_one_line(error) or type(error).__name__}", file=sys.stderr
        )
        return 1
    except RuntimeError as error:
        # torch's, for a GPU; torch is not imported here
        if type(error).__name__ != "OutOfMemoryError":
            raise
        print(
            f"ecmvae: failed: {_one_line(error).partition('. ')[0]}: make the batch smaller",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("ecmvae: interrupted", file=sys.stderr)
        return 130


def _reader_left() -> bool:
    """Whether the reader of a pipe has closed it, as in `ecmvae configs list | head -1`."""
    try:
        print(flush=True)
    except BrokenPipeError:
        # what is left in the buffer must not fail again when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview("ecmvae", {name: line for name, (_, line) in COMMANDS.items()}))
        return 0
    if words[0] == "--version":
        from ecmvae.provenance import __version__

        print(f"ecmvae {__version__}")
        return 0
    target, line = COMMANDS[_pick(words[0], COMMANDS, "command")]
    module, _, name = target.partition(":")
    found = getattr(import_module(module), name)
    program, words = f"ecmvae {words[0]}", words[1:]
    if isinstance(found, Mapping):
        if not words or words[0] in ("-h", "--help"):
            print(
                _overview(
                    program, {key: _summary(function) for key, function in found.items()}, line
                )
            )
            return 0
        program, found, words = (
            f"{program} {words[0]}",
            found[_pick(words[0], found, "command")],
            words[1:],
        )
    from ecmvae.arguments import parse

    result = found(**parse(found, program, words))
    return result if isinstance(result, int) else 0


def _pick(word: str, names: Mapping[str, Any], what: str) -> str:
    if word in names:
        return word
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"
    raise UserError(f"unknown {what} {word!r}: {hint}")


def _overview(
    program: str, lines: Mapping[str, str], summary: str = "cut the sounding objects out of videos"
) -> str:
    width = max(map(len, lines)) + 2
    table = "\n".join(f"  {name:{width}}{line}" for name, line in lines.items())
    return (
        f"{program}: {summary}\n\nusage: {program} COMMAND ...\n\n{table}\n\n"
        f"{program} COMMAND --help lists the options."
    )


def _summary(function: Function) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]


def _place() -> str:
    """Which of several processes speaks, unless it is the first."""
    rank = process_rank()
    return f"process {rank}: " if rank else ""


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))


def _terminate(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
