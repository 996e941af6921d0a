"""Names of classes, as files say them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecmvae.errors import UserError
from ecmvae.foreign_text import short


def class_names_in(description: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The names of the classes in what a file says about its model; none when it names none.

    Raises:
        UserError: If they are not a list of printable names.
    """
    names = description.get("class_names", [])
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name.isprintable() for name in names
    ):
        raise UserError(
            f"class_names of {where} must be a list of names, not {short(names)}: write the model again"
        )
    return tuple(names)
