"""YAML into dataclasses: a wrong key is answered with the nearest right one, a wrong value with what was expected."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from ecmvae.errors import UserError


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; empty for an empty file.

    Raises:
        UserError: When the file is missing, unreadable, malformed or holds something else.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"config file not found: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read config file {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UserError(f"{path} must hold a mapping such as 'train: {{epochs: 3}}', not {type(loaded).__name__}")
    return loaded


def build_dataclass(cls: Any, values: Any, where: str = "") -> Any:
    """Make a dataclass, whose fields may be dataclasses too, from nested dictionaries; what is left out is the default.

    Args:
        cls: The dataclass.
        values: Its dictionary.
        where: Dotted path of `values`, for the messages.

    Raises:
        UserError: For an unknown key (with the nearest right one) or a value of the wrong kind.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"config key {where or 'top level'} must hold a mapping, not {values!r}")
    hints = typing.get_type_hints(cls)
    built = {}
    for key, value in values.items():
        dotted = f"{where}.{key}" if where else str(key)
        if key not in hints:
            raise UserError(f"unknown config key {dotted!r}{_nearest(str(key), where, hints)}")
        hint = hints[key]
        nested = dataclasses.is_dataclass(hint)
        built[key] = build_dataclass(hint, value, dotted) if nested else _check(hint, value, dotted)
    return cls(**built)


def _nearest(key: str, where: str, hints: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
    if close:
        return f": did you mean {f'{where}.{close[0]}' if where else close[0]!r}?"
    return f": choose from {', '.join(hints)}"


def _check(hint: Any, value: Any, dotted: str) -> Any:
    """Value of a leaf, checked against its annotation; ints pass where floats are asked for."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(str(choice) for choice in get_args(hint))
            raise UserError(f"config key {dotted} is {value!r}: choose from {choices}")
        return value
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"config key {dotted} must hold a mapping, not {value!r}")
        return {str(key): _check(get_args(hint)[1], each, f"{dotted}.{key}") for key, each in value.items()}
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads "1e-4" as text; people write it all the same.
        try:
            value = float(value)
        except ValueError:
            raise UserError(f"config key {dotted} must be a number, not {value!r}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"config key {dotted} must be of type {hint.__name__}, not {value!r}")
    return value
