"""The generic registry: names, import paths and objects."""

from __future__ import annotations

from collections import Counter, OrderedDict

import pytest

from ecmvae.errors import UserError
from ecmvae.registry import Registry, is_import_path


def containers() -> Registry[type]:
    return Registry(
        "container", {"ordered": "collections:OrderedDict", "list": list}, needs=("clear",)
    )


def test_a_name_an_import_path_and_an_object_give_the_same() -> None:
    known = containers()
    assert (
        known.get("ordered")
        is known.get("collections:OrderedDict")
        is known.get(OrderedDict)
        is OrderedDict
    )
    assert list(known) == ["ordered", "list"]


def test_an_unknown_name_lists_the_right_ones() -> None:
    message = r"unknown container 'ordred': choose from ordered, list \(did you mean ordered\?\)"
    with pytest.raises(UserError, match=message):
        containers().get("ordred")


def test_an_object_of_the_wrong_kind_says_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"not a usable container: it lacks \.clear"):
        containers().get(int)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("no_such_module:Thing", "No module named"), ("collections:Thing", "has no Thing")],
)
def test_an_import_that_fails_is_explained(path: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        containers().get(path)


def test_registering_from_outside() -> None:
    known = containers()
    known.register("counter")(Counter)
    known.register("counter")(Counter)  # again, as a reloaded notebook cell does
    assert known.get("counter") is Counter
    with pytest.raises(ValueError, match="already"):
        known.register("list")(Counter)


@pytest.mark.parametrize("text", ["runs/x:y", "C:name", "a.b:c", "hf://a/b", ":x", "a:"])
def test_what_looks_like_an_import_path(text: str) -> None:
    assert is_import_path(text) == (text in ("a.b:c", "C:name"))
