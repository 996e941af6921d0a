"""Read YAML, JSON and text that may come from a stranger, and quote it in messages.

Configurations, metadata, model cards, tables and lists are read here and nowhere else. Whatever is wrong with such a
file is one `UserError` that names it: it is not a regular file, it is too large, it is nested too deeply, it holds
aliases (a few hundred bytes of YAML aliases expand to gigabytes), huge integers, null characters or very many values,
or it does not parse.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from ecmvae.errors import UserError
from ecmvae.files import show_path

SMALL, LARGE = 1_000_000, 64_000_000
"""Most bytes of a configuration, of metadata or of a card, and of a table of a data set."""
MAX_DEPTH = 50
"""Of lists and mappings within each other."""
MAX_DIGITS = 100
"""Of an integer."""
MAX_VALUES = 20_000
"""Of a YAML file, which takes a second; the parser is slow, and a setting may hold a list of 300 kB."""
_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a terminal show text in another order than it is written."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes, without waiting at a named pipe.

    Raises:
        OSError: If it cannot be opened, or is something other than a regular file.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  # the caller closes it
    except ValueError:  # a null character
        raise OSError("no file has such a name") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is a pipe or a device, not a regular file")
    return file


def read_text(path: Path, limit: int = SMALL, encoding: str = "utf-8") -> str:
    """The text of a regular file.

    Args:
        path: The file.
        limit: Most bytes that it may have.
        encoding: ``utf-8``, or ``utf-8-sig`` to drop a byte order mark.

    Raises:
        UserError: If it is missing, unreadable, no regular file, too large, or not UTF-8 text.
    """
    try:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise UserError(f"file not found: {show_path(path)}") from None
    except OSError as error:
        raise UserError(
            f"{show_path(path)} cannot be read ({error.strerror or error}): name another file"
        ) from None
    if len(content) > limit:
        raise UserError(
            f"{show_path(path)} is larger than {limit // 1_000_000} MB, the limit: is it the right file?"
        )
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{show_path(path)} cannot be read as text (it is not UTF-8: {error}): save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(
            f"{show_path(path)} cannot be read as text (it holds null characters): save it as UTF-8"
        )
    return text


def read_yaml(path: Path) -> Any:
    """The value of a YAML file; see `parse_yaml` and `read_text`."""
    return parse_yaml(read_text(path), show_path(path))


def read_json(path: Path, limit: int = SMALL) -> Any:
    """The value of a JSON file of at most `limit` bytes; see `parse_json` and `read_text`."""
    return parse_json(read_text(path, limit), show_path(path))


def parse_yaml(text: str, name: str) -> Any:
    """The value of YAML text, None when it is empty.

    Args:
        text: The YAML.
        name: Where it comes from, for messages.

    Raises:
        UserError: If it is malformed, nested too deeply, or holds an alias, a huge integer or a null character.
    """
    return _parse(lambda: yaml.load(text, _Loader), "YAML", name)  # a SafeLoader


def parse_json(text: str, name: str) -> Any:
    """The value of JSON text.

    Args:
        text: The JSON.
        name: Where it comes from, for messages.

    Raises:
        UserError: If it is malformed, nested too deeply, or holds a huge integer or a null character.
    """

    def parse() -> Any:
        value = json.loads(text, parse_int=_integer)
        level, depth = [value], 0
        while level:
            _check_depth(depth := depth + 1)
            level = [
                each for outer in level if isinstance(outer, dict | list) for each in _parts(outer)
            ]
            if any(isinstance(each, str) and "\0" in each for each in level):
                raise ValueError("it holds a null character")
        return value

    return _parse(parse, "JSON", name)


def short(value: object, limit: int = 80) -> str:
    """A value as Python writes it, on one printable line of at most `limit` characters."""
    return cut(repr(value), limit)


def cut(text: str, limit: int = 200) -> str:
    """Text on one printable line of at most `limit` characters."""
    line = printable(" ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def printable(text: str) -> str:
    """The text with escapes in place of what steers a terminal; line feeds and tabs stay."""
    return "".join(
        each.encode("unicode_escape").decode()
        if each in _BIDIRECTIONAL
        or (unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t")
        else each
        for each in text
    )


class _Loader(yaml.SafeLoader):
    """Plain values only, without aliases, huge integers, null characters and deep nesting."""

    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias: write the value itself in its place")
        self.depth, self.values = self.depth + 1, self.values + 1
        _check_depth(self.depth)
        if self.values > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_scalar(self, node: yaml.Node) -> Any:
        value = super().construct_scalar(node)  # type: ignore[arg-type]  # it checks the kind of node itself
        if node.tag == "tag:yaml.org,2002:int":
            _check_digits(value)
        if "\0" in value:
            raise ValueError("it holds a null character")
        return value


def _parse(parse: Callable[[], Any], kind: str, name: str) -> Any:
    try:
        return parse()
    except (
        Exception
    ) as error:  # hostile text can fail in any way; every one means the same to the user
        raise UserError(
            f"{name} is not valid {kind} ({cut(str(error)) or type(error).__name__}): correct it"
        ) from error


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else value


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _check_digits(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"it holds an integer of more than {MAX_DIGITS} digits")


def _integer(text: str) -> int:
    _check_digits(text)
    return int(text)


def _without_waiting(name: str, flags: int) -> int:
    # Windows has neither the flag nor named pipes in files
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
