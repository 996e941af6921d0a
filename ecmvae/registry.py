"""Names and objects: one registry for every extension point.

An extension point takes a registered name, an import path (``my_package.beats:BEATs``) or the object itself. Built-in
entries are import paths too, so that listing the names imports nothing.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from ecmvae.errors import UserError
from ecmvae.foreign_text import short

T = TypeVar("T")
Entry = TypeVar("Entry", bound=Callable[..., Any])


class Registry(Generic[T]):
    """The known choices of one extension point.

    Example:
        >>> shapes: Registry[type] = Registry("container", {"ordered": "collections:OrderedDict", "list": list})
        >>> shapes.get("ordered").__name__
        'OrderedDict'
        >>> shapes.get("collections:Counter").__name__
        'Counter'
        >>> shapes.get("lst")
        Traceback (most recent call last):
        ecmvae.errors.UserError: unknown container 'lst': choose from ordered, list (did you mean list?)

    Args:
        what: What an entry is, for error messages, such as "audio encoder".
        entries: Name -> object, or its import path ``package.module:attribute``.
        needs: Attributes that every entry must have.
    """

    def __init__(
        self,
        what: str,
        entries: Mapping[str, T | str] | None = None,
        *,
        needs: tuple[str, ...] = (),
    ) -> None:
        self.what, self.needs = what, needs
        self._entries: dict[str, T | str] = dict(entries or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator that adds a class or function under a name.

        Raises:
            ValueError: If the name is taken by something else.
        """

        def add(entry: Entry) -> Entry:
            if self._entries.get(name, entry) is not entry:
                raise ValueError(f"there is a {self.what} named {name!r} already")
            self._entries[name] = cast(T, entry)
            return entry

        return add

    def get(self, choice: str | T) -> T:
        """The object behind a name or an import path; an object is returned as it is.

        Raises:
            UserError: If the name is unknown (lists the known ones), the import fails, or the object lacks one of the
                required attributes.
        """
        found = choice
        if isinstance(choice, str):
            entry = self._entries.get(choice)
            if entry is None and not is_import_path(choice):
                raise UserError(f"unknown {self.what} {short(choice)}: {self.hint(choice)}")
            target = choice if entry is None else entry
            found = import_object(target) if isinstance(target, str) else target
        if missing := [name for name in self.needs if not hasattr(found, name)]:
            raise UserError(
                f"{choice} is not a usable {self.what}: it lacks {' and '.join(f'.{n}' for n in missing)}"
            )
        return cast(T, found)

    def hint(self, wrong: str) -> str:
        """All known names, and the nearest one."""
        close = difflib.get_close_matches(wrong, self._entries, n=1, cutoff=0.5)
        nearest = f" (did you mean {close[0]}?)" if close else ""
        return f"choose from {', '.join(self._entries)}{nearest}"


def is_import_path(text: str) -> bool:
    """Whether `text` has the form ``package.module:attribute``."""
    module, colon, attribute = text.partition(":")
    return (
        bool(colon)
        and attribute.isidentifier()
        and all(part.isidentifier() for part in module.split("."))
    )


def import_object(path: str) -> Any:
    """Import ``package.module:attribute``, from Python's path or from the current directory.

    Raises:
        UserError: If the module or the attribute does not exist.
    """
    module, _, attribute = path.partition(":")
    if not path.startswith("ecmvae.") and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last, so that nothing installed is hidden
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise UserError(f"cannot import {path}: {error}") from error
    except AttributeError as error:
        raise UserError(f"cannot import {path}: {module} has no {attribute}") from error
