"""The command line: which command calls which function; jsonargparse makes options of the function's parameters.

A command's help is its function's docstring. Nothing heavy is imported before a command runs, so help is quick.
Exit codes: 0 success; 2 a user's mistake, told in one line; 1 another failure; 130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import signal
import sys
import typing
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ecmvae.config import Config, load_config
from ecmvae.errors import UserError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("ecmvae.demo:demo", "data, training, scores and an overlay video, in minutes on a CPU"),
    "predict": ("ecmvae.prediction.command:predict", "cut the sounding objects out of videos"),
    "app": ("ecmvae.serving.command:app", "the same in a browser, on this machine"),
    "train": ("ecmvae.training.command:train", "train a segmentation model"),
    "train-audio": ("ecmvae.training.command:train_audio", "teach an audio encoder to name what sounds"),
    "evaluate": ("ecmvae.evaluation.command:evaluate", "score a model by the three published protocols"),
    "export": ("ecmvae.prediction.command:export", "write a model as ONNX"),
    "models": ("ecmvae.hub.command:models", "list the models that can be asked for by name"),
    "check-data": ("ecmvae.data.command:check_data", "name what is missing or wrong in a data folder"),
    "doctor": ("ecmvae.doctor:doctor", "show versions, devices and what is installed"),
    "vae": ("ecmvae.training.vae_command:VAE_COMMANDS", "train and look into plain autoencoders and VAEs"),
}
"""Command -> (module:function, one line of help). A dictionary in place of the function holds sub-commands."""

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
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(words)
    except UserError as error:
        print(f"ecmvae: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except (OSError, FloatingPointError, MemoryError) as error:
        print(f"ecmvae: failed: {_one_line(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, for a GPU; torch is not imported here
            raise
        print(f"ecmvae: failed: {_one_line(error).partition('. ')[0]}: make the batch smaller", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ecmvae: interrupted", file=sys.stderr)
        return 130


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
            print(_overview(program, {key: _summary(function) for key, function in found.items()}, line))
            return 0
        program, found, words = f"{program} {words[0]}", found[_pick(words[0], found, "command")], words[1:]
    result = found(**parse(found, program, words))
    return result if isinstance(result, int) else 0


def parse(function: Function, program: str, words: Sequence[str]) -> dict[str, Any]:
    """Arguments for `function` from command-line words; prints the help and leaves when that is asked for.

    Required parameters are positional, the others options. A parameter of type `Config` is given by ``--config FILE``
    (several are laid over each other) and by ``--model.latent.dim 8`` and the like.

    Raises:
        UserError: For a wrong option or value; names the nearest right one.
    """
    from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, set_parsing_settings

    hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    switches = {name for name in parameters if hints[name] is bool}

    class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):  # type: ignore[misc]
        """Keeps the line breaks of a docstring's examples, and says things as people type them."""

        def _format_action_invocation(self, action: Any) -> str:
            off = action.dest in switches and action.default is False
            return "--" + action.dest if off else str(super()._format_action_invocation(action))

        def _expand_help(self, action: Any) -> str:
            return _plain(super()._expand_help(action), switch=action.dest in switches)

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=program, description=_description(function), formatter_class=Formatter, exit_on_error=False
    )
    configs = [name for name in parameters if hints[name] is Config]
    lists = [
        name for name in parameters if _is_list(hints[name]) and parameters[name].default is inspect.Parameter.empty
    ]
    for name in lists:  # words without a dash: the files of a command
        parser.add_argument(name, nargs="+", type=typing.get_args(hints[name])[0], help=_argument(function, name))
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip={*configs, *lists})
    if configs:
        _add_config(parser)
    needed = [
        name for name in parameters if parameters[name].default is inspect.Parameter.empty and name not in configs
    ]
    shapes = [f"{name.upper()} [{name.upper()} ...]" if name in lists else name.upper() for name in needed]
    parser.usage = " ".join([program, *shapes, "[--option VALUE ...]"])
    words, files, overrides = _take_config(words) if configs else (list(words), [], {})
    words = _spell_out(words, switches)
    try:
        values = vars(parser.parse_args(words))
    except ArgumentError as error:
        raise UserError(f"{_explain(str(error), parser)} (see {program} --help)") from None
    arguments = {name: values[name] for name in parameters if name not in configs}
    if arguments.get("resume") is not None:  # a resumed run goes on with the settings it was started with
        files.insert(0, f"{arguments['resume']}/config.yaml")
    arguments |= {name: load_config(files, overrides) for name in configs}
    return arguments


def _add_config(parser: Any) -> None:
    """Options for every knob, for the help; `_take_config` has taken their values before the parser sees them."""
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings; may be given again, later files win")
    parser.add_class_arguments(Config)
    for group in parser._action_groups:  # without jsonargparse's own way to name a file for a part of the settings
        group._group_actions = [action for action in group._group_actions if action.metavar != "CONFIG"]


def _spell_out(words: Sequence[str], switches: Collection[str]) -> list[str]:
    """Options as the parser knows them: --save-masks is --save_masks, and a bare switch --force means --force=true."""
    spelt = []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        if option.startswith("--"):
            option = "--" + option[2:].replace("-", "_")
            if option[2:] in switches and not equals and after.lower() not in ("true", "false"):
                equals, value = "=", "true"
        spelt.append(f"{option}{equals}{value}")
    return spelt


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is list


def _take_config(words: Sequence[str]) -> tuple[list[str], list[str], dict[str, str]]:
    """Split words into those of the function's other parameters, the configuration files, and dotted settings."""
    others: list[str] = []
    files: list[str] = []
    overrides: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or (key != "config" and key.partition(".")[0] not in Config.__annotations__):
            others.append(word)
            continue
        if not equals and (value := next(rest, "--")).startswith("--"):
            raise UserError(f"option --{key} needs a value")
        if key == "config":
            files.append(value)
        else:
            overrides[key] = value
    return others, files, overrides


def _pick(word: str, names: Mapping[str, Any], what: str) -> str:
    if word in names:
        return word
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"
    raise UserError(f"unknown {what} {word!r}: {hint}")


def _explain(message: str, parser: Any) -> str:
    """Jsonargparse's message in one line, with the nearest option where one is unknown."""
    message = _one_line(message)
    if message.lower().startswith("unrecognized arguments") and (word := message.split()[2]).startswith("--"):
        options = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(word.partition("=")[0], options, n=1, cutoff=0.5)
        return f"unknown option {word}" + (f": did you mean {close[0]}?" if close else "")
    if wrong := re.fullmatch(r'Parser key "(.+?)": Expected an? (.+)\. Got value: (.*)', message):
        option, kind, value = wrong.groups()
        return f"--{option} takes {_KINDS.get(kind) or _choices(kind) or kind}, got {value!r}"
    return message


_KINDS = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}


def _choices(kind: str) -> str:
    """The words of a `typing.Literal`, as its text shows them."""
    first, *others = re.findall(r"'([^']*)'", kind) if "Literal" in kind else [""]
    return f"{', '.join([first, *others[:-1]])} or {others[-1]}" if others else first


def _plain(text: str, *, switch: bool) -> str:
    """The parser's help of one option without what only programmers read, and without what its choices say already."""
    if switch:
        return text.replace(" (type: bool, default: False)", "").replace("type: bool, ", "")
    text = text.replace("type: <class 'Path'>", "type: path").replace("Optional[list[Path]]", "[path, ...]")
    text = re.sub(r"(type: \S+) \| null", r"\1", text).replace(", default: null", "").replace(" (default: null)", "")
    return re.sub(r"type: Literal\[[^\]]*\], ", "", text)


def _overview(program: str, lines: Mapping[str, str], summary: str = "cut out of a video what sounds") -> str:
    width = max(map(len, lines)) + 2
    table = "\n".join(f"  {name:{width}}{line}" for name, line in lines.items())
    return f"{program}: {summary}\n\nusage: {program} COMMAND ...\n\n{table}\n\n{program} COMMAND --help explains it."


def _description(function: Function) -> str:
    """The docstring down to its sections about arguments, results and errors; examples stay."""
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    ends = [number for number, line in enumerate(lines) if line in ("Args:", "Returns:", "Raises:")]
    return "\n".join(lines[: min(ends, default=len(lines))]).strip()


def _summary(function: Function) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]


def _argument(function: Function, name: str) -> str:
    """What the docstring says about one argument."""
    from docstring_parser import parse as parse_docstring

    described = {each.arg_name: each.description for each in parse_docstring(function.__doc__ or "").params}
    return _one_line(described.get(name) or "")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _terminate(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
