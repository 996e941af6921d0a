"""Names of classes in the description of a model that somebody else has written."""

import pytest

from ecmvae.errors import UserError
from ecmvae.hub.class_names import class_names_in


def test_names_come_as_they_stand() -> None:
    assert class_names_in({"class_names": ["background", "chat", "犬"]}, "a") == (
        "background",
        "chat",
        "犬",
    )
    assert class_names_in({}, "a") == ()


@pytest.mark.parametrize(
    "names", ["cat", {"cat": 1}, ["cat", 3], ["a\x1b[2J"], ["two\nlines"], None]
)
def test_anything_else_is_one_printable_line(names: object) -> None:
    with pytest.raises(
        UserError, match=r"class_names of a\.onnx must be a list of names"
    ) as raised:
        class_names_in({"class_names": names}, "a.onnx")
    assert str(raised.value).isprintable()
