from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ecmvae.errors import UserError
from ecmvae.yaml_reader import build_dataclass, read_yaml


@dataclass(frozen=True)
class Inner:
    width: int = 16
    rate: float = 0.5
    kind: Literal["plain", "fancy"] = "plain"
    where: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    on: bool = False


def test_what_is_left_out_is_the_default() -> None:
    assert build_dataclass(Outer, {}) == Outer()
    values = {"inner": {"width": 8, "rate": 2, "where": "here"}, "on": True}
    built = build_dataclass(Outer, values)
    assert built == Outer(Inner(8, 2.0, "plain", "here"), on=True)
    assert isinstance(built.inner.rate, float)
    assert build_dataclass(Outer, {"inner": {"rate": "1e-4", "where": None}}) == Outer(Inner(rate=1e-4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iner": {}}, "unknown config key 'iner': did you mean 'inner'?"),
        ({"inner": {"widht": 3}}, "unknown config key 'inner.widht': did you mean 'inner.width'?"),
        ({"inner": {"zzz": 3}}, "unknown config key 'inner.zzz': choose from width, rate, kind, where"),
        ({"inner": {"width": "wide"}}, "inner.width must be of type int, not 'wide'"),
        ({"inner": {"width": True}}, "inner.width must be of type int, not True"),
        ({"inner": {"rate": "fast"}}, "inner.rate must be a number, not 'fast'"),
        ({"inner": {"kind": "odd"}}, "inner.kind is 'odd': choose from plain, fancy"),
        ({"inner": {"where": 3}}, "inner.where must be of type str, not 3"),
        ({"on": 1}, "on must be of type bool, not 1"),
        ({"inner": 3}, "config key inner must hold a mapping, not 3"),
    ],
)
def test_a_mistake_is_named_in_one_line(values: dict, message: str) -> None:
    with pytest.raises(UserError) as raised:
        build_dataclass(Outer, values)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}
    with pytest.raises(UserError, match="config file not found"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: }")
    with pytest.raises(UserError, match="is not valid YAML") as raised:
        read_yaml(tmp_path / "bad.yaml")
    assert "\n" not in str(raised.value)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="must hold a mapping"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    for unreadable in (tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(UserError, match="cannot read config file"):
            read_yaml(unreadable)
