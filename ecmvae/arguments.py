"""Command-line words into a function's arguments: jsonargparse makes options of its parameters and its docstring."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import re
import typing
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from ecmvae.config import Config, ConfigFiles, ConfigSettings, read_config_file
from ecmvae.config_reader import by_dotted_name, read_yaml, wrong_value
from ecmvae.errors import UserError

Function = Callable[..., Any]


def parse(function: Function, program: str, words: Sequence[str]) -> dict[str, Any]:
    """Arguments for `function` from command-line words; prints the help and leaves when that is asked for.

    Required parameters are positional, the others options. A parameter of type `Config` is given by ``--config FILE``
    (several are laid over each other) and by ``--model.latent.dim 8`` and so on; one of type `ConfigFiles` gets the
    paths of those files, one of type `ConfigSettings` the settings on the command line; one of type
    `tuple[str, ...]` that defaults to () takes all words that are left.

    Raises:
        UserError: For a wrong option or value; names the nearest right one.
    """
    hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    switches = {name for name in parameters if hints[name] is bool}
    configs = [name for name in parameters if hints[name] is Config]
    files = [name for name in parameters if hints[name] is ConfigFiles]
    settings = [name for name in parameters if hints[name] is ConfigSettings]
    parser = _parser(function, program, switches)
    words = _spell_out(words, switches)
    if any(hints[name] == tuple[str, ...] for name in parameters):
        words = _options_first(words)
    try:
        _check_options(
            words,
            {*parameters} - {*configs, *files, *settings}
            | (_config_options() if configs else set()),
        )
        if configs:
            _check_section_files(words)
        values = parser.parse_args(words)
        # it goes on with the settings it was started with
        if configs and values.get("resume") not in (None, "auto"):
            values = parser.parse_args([f"--config={_config_of(values.resume)}", *words])
    except ArgumentError as error:
        text = wrong_value(error)
        option = "--" if text.partition(" ")[0] in _config_options() | {*parameters} else ""
        raise UserError(f"{option}{text} (see {program} --help)") from None
    built = parser.instantiate(values)
    arguments = {
        name: built[name] for name in parameters if name not in (*configs, *files, *settings)
    }
    arguments |= {name: _config_files(words) for name in files}
    arguments |= {name: _config_settings(words) for name in settings}
    arguments |= {
        name: tuple(built[name] or ()) for name in parameters if hints[name] == tuple[str, ...]
    }
    sections = [field.name for field in dataclasses.fields(Config)]
    return arguments | {
        name: Config(**{section: built[section] for section in sections}) for name in configs
    }


def _config_of(run: str) -> str:
    file = Path(run) / "config.yaml"
    if not file.exists():  # stopped before it wrote anything
        raise UserError(f"nothing to resume in {run}: {file} does not exist")
    return str(file)


def _parser(function: Function, program: str, switches: Collection[str]) -> Any:
    """The parser of a function's parameters."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    configs = [name for name in parameters if hints[name] in (Config, ConfigFiles, ConfigSettings)]
    needed = [
        name
        for name, each in parameters.items()
        if each.default is each.empty and name not in configs
    ]
    lists = [name for name in needed if typing.get_origin(hints[name]) is list]

    class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):  # type: ignore[misc]
        """Keeps the line breaks of a docstring's examples, and shows options as people type them."""

        def _format_action_invocation(self, action: Any) -> str:
            off = action.dest in switches and action.default is False
            return "--" + action.dest if off else str(super()._format_action_invocation(action))

        def _expand_help(self, action: Any) -> str:
            return _plain(super()._expand_help(action), switch=action.dest in switches)

    rest = [name for name in parameters if hints[name] == tuple[str, ...]]
    shapes = [
        f"{name.upper()} [{name.upper()} ...]" if name in lists else name.upper() for name in needed
    ]
    shapes += [f"[{name.upper()} ...]" for name in rest]
    parser = ArgumentParser(
        prog=program,
        usage=" ".join([program, *shapes, "[--option VALUE ...]"]),
        description=_description(function),
        formatter_class=Formatter,
        exit_on_error=False,
    )
    for name in lists:  # words without a dash: the files of a command
        parser.add_argument(
            name, nargs="+", type=typing.get_args(hints[name])[0], help=_argument(function, name)
        )
    parser.add_function_arguments(
        function, as_group=False, as_positional=True, skip={*configs, *lists, *rest}
    )
    for name in rest:
        parser.add_argument(name, nargs="*", type=str, default=[], help=_argument(function, name))
    if configs:
        help_line = "YAML file of settings; may be given again, later files win"
        parser.add_argument("--config", metavar="FILE", action=_ConfigFile, help=help_line)
        parser.add_class_arguments(Config)
    return parser


class _ConfigFile(ActionConfigFile):  # type: ignore[misc]
    """Hands jsonargparse the settings of a file together with those of the files that it names as its base."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        super().__call__(parser, namespace, yaml.safe_dump(read_config_file(value)), option)  # type: ignore[no-untyped-call]


def _config_options() -> set[str]:
    """``config``, and the dotted names of every section and knob."""
    knobs = by_dotted_name(Config().to_dict())
    sections = {knob.rpartition(".")[0] for knob in knobs}
    return {
        "config",
        "print_config",
        *knobs,
        *sections,
        *(section.partition(".")[0] for section in sections),
    }


def _check_options(words: Sequence[str], known: Collection[str]) -> None:
    """Check that every option is a known one.

    Raises:
        UserError: With the nearest right one.
    """
    for word in words:
        name = word.removeprefix("--").partition("=")[0]
        if (
            word.startswith("--")
            and name
            and name not in (*known, "help")
            and not name.startswith("loss.extra.")
        ):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise UserError(
                f"unknown option --{name}" + (f": did you mean --{close[0]}?" if close else "")
            )


def _check_section_files(words: Sequence[str]) -> None:
    """Check the files of ``--model FILE`` and other sections, which jsonargparse reads by itself.

    Raises:
        UserError: If one cannot be read as settings.
    """
    options = _config_options()
    sections = {
        f"--{name}" for name in options if any(each.startswith(f"{name}.") for each in options)
    }
    for word, after in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        file = value if equals else after
        if option in sections and os.path.exists(file):  # noqa: PTH110  # the value may be YAML too long for a path
            read_yaml(Path(file))


def _config_files(words: Sequence[str]) -> ConfigFiles:
    """The paths given by ``--config FILE`` or ``--config=FILE``."""
    pairs = zip(words, [*words[1:], ""], strict=False)
    return ConfigFiles(
        word.partition("=")[2] or after
        for word, after in pairs
        if word == "--config" or word.startswith("--config=")
    )


def _config_settings(words: Sequence[str]) -> ConfigSettings:
    """The settings given by ``--train.epochs 3`` or ``--train.epochs=3``."""
    known, found = _config_options() - {"config"}, ConfigSettings()
    for word, after in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        name = option.removeprefix("--")
        if option.startswith("--") and (name in known or name.startswith("loss.extra.")):
            found[name] = value if equals else after
    return found


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


def _options_first(words: Sequence[str]) -> list[str]:
    """Options with their values before all other words, which argparse otherwise takes for finished at an option."""
    options: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--help" or not word.startswith("--"):
            (options if word == "--help" else others).append(word)
            continue
        options.append(word)
        if "=" not in word:
            options += [after for after in (next(left, None),) if after is not None]
    return [*options, *others]


def _plain(text: str, *, switch: bool) -> str:
    """The parser's help of one option without what only programmers read, and without what its choices say already."""
    if switch:
        return text.replace(" (type: bool, default: False)", "").replace("type: bool, ", "")
    text = text.replace("type: <class 'Path'>", "type: path").replace(
        "Optional[list[Path]]", "[path, ...]"
    )
    text = (
        re.sub(r"(type: \S+) \| null", r"\1", text)
        .replace(", default: null", "")
        .replace(" (default: null)", "")
    )
    text = text.replace("type: Path)", "type: path)").replace("type: Path,", "type: path,")
    return re.sub(r"type: Literal\[[^\]]*\], ", "", text)


def _description(function: Function) -> str:
    """The docstring down to its sections about arguments, results and errors; examples stay."""
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    ends = [number for number, line in enumerate(lines) if line in ("Args:", "Returns:", "Raises:")]
    return "\n".join(lines[: min(ends, default=len(lines))]).strip()


def _argument(function: Function, name: str) -> str:
    """What the docstring says about one argument."""
    described = {
        each.arg_name: each.description for each in parse_docstring(function.__doc__ or "").params
    }
    return " ".join((described.get(name) or "").split())
