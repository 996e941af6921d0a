"""Packages written here, whose cycles are known."""

import sys
from pathlib import Path

import pytest
from check_imports import main

FREE = {
    "__init__": "from .a import x",  # a package may import its modules
    "a": "from typing import TYPE_CHECKING\nx = 1\nif TYPE_CHECKING:\n    from . import b",
    "b": "from .a import x",
}
LATE = {"__init__": "", "a": "def f():\n    from . import b", "b": "from . import a"}
BACK = {"__init__": "from .a import x", "a": "import {name}\nx = 1"}


@pytest.mark.parametrize(
    ("modules", "cycle"), [(FREE, ()), (LATE, (".a", ".b")), (BACK, ("", ".a"))]
)
def test_cycles(
    modules: dict[str, str],
    cycle: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"toy_{tmp_path.name}"
    (tmp_path / name).mkdir()
    for module, text in modules.items():
        (tmp_path / name / f"{module}.py").write_text(text.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    assert main(name) == (1 if cycle else 0)
    assert name not in sys.modules  # read, not run
    said = capsys.readouterr().out
    for one, other in zip(cycle, cycle[::-1], strict=True):
        assert f"  {name}{one} imports {name}{other} (line " in said
    assert f"{len(modules)} modules, {1 if cycle else 0} import cycles" in said
