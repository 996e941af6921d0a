"""docs/vae.md: every file and test that it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vae.md").read_text()


def named_tests(*folders: str):
    sources = [path for folder in folders for path in (ROOT / folder).rglob("test_*.py")]
    return {path: re.findall(r"^def (test_\w+)", path.read_text(), re.M) for path in sources}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:multimodal/)?test_\w+\.py)(?:::\w+\*?)?`", PAGE))))
def test_every_named_test_file_exists(name):
    assert (ROOT / "tests" / "vae" / name).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:::|`)(test_\w+\*?)`", PAGE))))
def test_every_named_test_exists(name):
    known = [test for tests in named_tests("tests").values() for test in tests]
    stem = name.removesuffix("*")
    assert any(test == name or (name.endswith("*") and test.startswith(stem)) for test in known)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.(?:py|yaml))", PAGE)) - {""}))
def test_every_named_file_exists(name):
    places = (ROOT / "ecmvae" / "vae", ROOT / "tests" / "vae", ROOT)
    assert any((place / name).is_file() for place in places)


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(example, "docs/vae.md", "exec"), {})
    assert "torch.Size([100]) torch.Size([100])" in capsys.readouterr().out
