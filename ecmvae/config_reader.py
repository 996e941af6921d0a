"""YAML files, nested dictionaries and dotted names into dataclasses: layered here, type-checked by jsonargparse.

A file may name files that it is laid over, relative to itself; its own keys win over theirs, and later ones over
earlier ones. A base that does not lie there is one of ecmvae's own recipes::

    base: [layers/ecmvae.yaml, layers/s4.yaml, layers/resnet50.yaml]
    train: {name: s4_resnet50}
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, parse_yaml, short
from ecmvae.foreign_text import read_yaml as read_any_yaml
from ecmvae.recipes import find_config

T = TypeVar("T")

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "dict": "a mapping",
}


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under their present names: models saved earlier have ``loss.semantic*``."""
    if not isinstance(loss := values.get("loss"), Mapping):
        return dict(values)
    renamed = {
        re.sub(r"^semantic(?=_|$)", "audio_visual_matching", str(key)): value
        for key, value in loss.items()
    }
    return {**values, "loss": renamed}


def read_layers(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a YAML file laid over those of the files that it names as ``base``.

    Args:
        path: The file, or the name of a recipe (`ecmvae.recipes`); an empty one holds no settings.
        above: Files that are being read, to find one that is its own base.

    Raises:
        UserError: When a file is missing, unreadable, malformed, not a mapping, or its own base.
    """
    path = find_config(path)
    if path.resolve() in above:
        raise UserError(f"{path} is its own base: check its base and theirs")
    own = read_yaml(path)
    base = own.pop("base", [])
    layers = [base] if isinstance(base, str) else base
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise UserError(f"base of {path} must be a list of files, not {short(base)}")
    below = (
        path.parent / layer if (path.parent / layer).exists() else Path(layer) for layer in layers
    )
    return merge([*(read_layers(layer, (*above, path.resolve())) for layer in below), own])


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings of one YAML file; no other file is read.

    Raises:
        UserError: When the file is missing, unreadable, malformed or not a mapping.
    """
    own = read_any_yaml(path) or {}
    if not isinstance(own, dict):
        raise UserError(
            f"{path} must hold a mapping such as 'train: {{epochs: 3}}', not {type(own).__name__}"
        )
    return own


def merge(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested settings laid over each other, key by key; later ones win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = (
                merge([below, value])
                if isinstance(below, dict) and isinstance(value, Mapping)
                else value
            )
    return merged


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings from dotted names; strings are read as YAML scalars."""
    layers = []
    for dotted, value in values.items():
        layer: Any = parse_yaml(value, dotted) if isinstance(value, str) else value
        for key in reversed(dotted.split(".")):
            layer = {key: layer}
        layers.append(layer)
    return merge(layers)


def by_dotted_name(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The leaves of nested settings by their dotted names; the opposite of `nested`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping) and value
        found |= by_dotted_name(value, f"{where}{key}.") if inner else {f"{where}{key}": value}
    return found


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass of dataclasses from nested settings; what is left out keeps its default.

    Raises:
        UserError: For an unknown key (with the nearest right one) or a value of the wrong type.
    """
    from jsonargparse import ArgumentError

    check_keys(cls, values)
    parser = _parser(cls)  # type: ignore[arg-type]  # a class can be hashed
    try:
        parts = parser.instantiate(parser.parse_object(copy.deepcopy(dict(values))))
    except ArgumentError as error:
        raise UserError(f"config: {wrong_value(error)}") from None
    return cls(**vars(parts))


def wrong_value(error: Exception) -> str:
    """A parser's message in one line; for a wrong value, such as ``train.epochs takes a whole number, got 'many'``."""
    text = " ".join(str(error).split())
    expected = r"Expected an? (?:<class '(\w+)'>|\S*Literal\[(.*?)\])"
    found = re.match(rf'Parser key "(.+?)": .*?{expected}.* value: (.*)', text)
    if found is None:
        return cut(text, 300)
    key, kind, choices, value = found.groups()
    return f"{key} takes {f'one of {choices}' if choices else _KINDS.get(kind, f'a {kind}')}, got {short(value)}"


def check_keys(cls: type, values: Any, where: str = "") -> None:
    """Check that every key of nested settings is a field of the dataclass.

    Raises:
        UserError: For an unknown key, with the nearest right one, or a value of the wrong shape.
    """
    if not isinstance(values, Mapping):
        raise UserError(
            f"config key {where.rstrip('.') or 'top level'} must hold a mapping, not {short(values)}"
        )
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.5)
            hint = (
                f"did you mean {where + close[0]!r}?"
                if close
                else f"choose from {', '.join(hints)}"
            )
            raise UserError(f"unknown config key {short(f'{where}{key}')}: {hint}")
        if dataclasses.is_dataclass(hints[key]):
            check_keys(hints[key], value, f"{where}{key}.")
        elif value is None and type(None) not in typing.get_args(hints[key]):
            raise UserError(f"config key {where}{key} needs a value")


@cache
def _parser(cls: Any) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls)
    return parser
