"""The variants of a study: words of the command line into complete configurations, checked before anything is trained.

A variant is one word: a recipe or a YAML file (``ablations/no_kl``), a setting (``loss.kl=0``), or several of them in
quotes (``"ablations/no_kl train.epochs=30"``). ``config=NAME`` in it takes another recipe in place of ``--config``.
"""

from __future__ import annotations

import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecmvae.config import Config, config_from_dict, read_config_file
from ecmvae.config_reader import by_dotted_name, merge, nested
from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, short
from ecmvae.training.settings import without_effect

BASE = "base"
"""Name of the configuration itself, which is the first variant of every study."""

_STUDYS_OWN = ("train.seed", "train.out", "train.name")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Variant:
    """A configuration with a name.

    Attributes:
        name: Its runs' folders are called ``name-seed0-001`` and so on.
        files: The YAML files that it is made from, the lowest first.
        config: What it comes to.
    """

    name: str
    files: tuple[str, ...]
    config: Config


def read_variants(
    words: Sequence[str],
    config: Config,
    files: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[Variant]:
    """The base and every variant of it.

    Args:
        words: One for each variant.
        config: What all variants share.
        files: The YAML files that it was made from.
        settings: Dotted names of what was laid over those on the command line, with any values.

    Raises:
        UserError: For a missing file, an unknown key, a wrong value, a variant that changes nothing, or two of the same
            name or content.
    """
    plain = by_dotted_name(config.to_dict())
    given = [
        name for name in settings or () if name not in plain and not name.startswith("loss.extra.")
    ]
    if given:
        raise UserError(
            f"--{given[0]}: give a study single settings such as --train.epochs 3, and files as --config"
        )
    asked = [_layer(name, plain[name]) for name in settings or () if name not in _STUDYS_OWN]
    found = [Variant(BASE, tuple(files), config)]
    for word in words:
        try:
            variant = _read(word, files, asked)
        except UserError as error:
            raise UserError(f"variant {short(word)}: {error}") from error
        _check(variant, word, found)
        found.append(variant)
    return found


def _read(word: str, files: Sequence[str], asked: Sequence[Mapping[str, Any]]) -> Variant:
    base: list[str] = []
    above: list[str] = []
    changes: list[dict[str, Any]] = []
    names: list[str] = []
    for part in _parts(word):
        key, equals, value = part.partition("=")
        if equals and key == "config":
            base.append(value)
        elif equals and not Path(part).is_file():
            if key in _STUDYS_OWN:
                raise UserError(
                    f"the study itself sets {key}: leave it out"
                    + (" (--seeds)" if "seed" in key else "")
                )
            changes.append(nested({key: value}))
        else:
            above.append(part)
        names.append(
            part if equals and key != "config" and part not in above else Path(value or part).stem
        )
    layers = [
        *map(read_config_file, base or files),
        *asked,
        *map(read_config_file, above),
        *changes,
    ]
    if not names:
        raise UserError(
            "it is empty: name a recipe such as ablations/no_kl, or a setting such as loss.kl=0"
        )
    name = re.sub(r"[^\w.=,+-]+", "-", "+".join(names)).strip("-.")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}-{zlib.crc32(name.encode()):08x}"
    return Variant(name, (*(base or files), *above), config_from_dict(merge(layers)))


def _parts(word: str) -> list[str]:
    """The files and settings of a variant; a file's name may hold blanks."""
    if Path(word).is_file():
        return [word]
    try:
        return shlex.split(word)
    except ValueError as error:
        raise UserError(f"{cut(str(error))}: close the quotes") from error


def _layer(name: str, value: Any) -> dict[str, Any]:
    if name.startswith("loss.extra."):  # an import path, which has dots of its own
        return {"loss": {"extra": {name.removeprefix("loss.extra."): value}}}
    layer: Any = value
    for key in reversed(name.split(".")):
        layer = {key: layer}
    return dict(layer)


def _check(variant: Variant, word: str, others: Sequence[Variant]) -> None:
    here, idle = by_dotted_name(variant.config.to_dict()), without_effect(variant.config)
    plain = by_dotted_name(others[0].config.to_dict())
    changed = [
        key
        for key in {**plain, **here}
        if here.get(key) != plain.get(key) and key not in _STUDYS_OWN
    ]
    if not set(changed) - idle.keys():
        why = "".join(f" ({key} has no effect with {idle[key]})" for key in changed)
        raise UserError(
            f"variant {short(word)} changes nothing in this configuration{why}: leave it out"
        )
    for other in others:
        there = by_dotted_name(other.config.to_dict())
        if other.name == variant.name:
            raise UserError(
                f"two variants have the name {variant.name}: rename a file, or leave one out"
            )
        if all(
            here.get(key) == there.get(key) for key in {**here, **there} if key not in _STUDYS_OWN
        ):
            raise UserError(
                f"the variants {other.name} and {variant.name} are the same: leave one out"
            )
