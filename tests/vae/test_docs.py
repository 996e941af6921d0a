"""docs/vae.md: every file and test that it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vae.md").read_text()


TESTS = {
    test
    for path in (ROOT / "tests").rglob("test_*.py")
    for test in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:multimodal/)?test_\w+\.py)(?:::\w+\*?)?`", PAGE))))
def test_every_named_test_file_exists(name):
    assert (ROOT / "tests" / "vae" / name).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:::|`)(test_\w+\*?)`", PAGE))))
def test_every_named_test_exists(name):
    assert name in TESTS or (name.endswith("*") and any(test.startswith(name[:-1]) for test in TESTS))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.(?:py|yaml))", PAGE)) - {""}))
def test_every_named_file_exists(name):
    places = (ROOT / "ecmvae" / "vae", ROOT / "tests" / "vae", ROOT)
    assert any((place / name).is_file() for place in places)


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(example, "docs/vae.md", "exec"), {})
    assert "torch.Size([100]) torch.Size([100])" in capsys.readouterr().out
